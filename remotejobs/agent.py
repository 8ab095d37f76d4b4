"""The keys of an ssh-agent, asked within a time: a dead agent's socket would hang for ever."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paramiko.agent import AgentKey

AGENT_SECONDS = 10.0  # a living one may ask its owner to confirm


@contextmanager
def agent_keys() -> Iterator[list["AgentKey"]]:
    """Of the agent at SSH_AUTH_SOCK, for as long as its connection is needed to sign. Raises OSError, SSHException."""
    from paramiko.agent import AgentSSH

    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        yield []
        return
    agent = AgentSSH()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(AGENT_SECONDS)
        connection.connect(path)
        agent._connect(connection)
        yield list(agent.get_keys())
