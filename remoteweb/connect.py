"""The way to a server: its row becomes a shell, and what a person types becomes its row."""

from collections.abc import Callable
from pathlib import Path

import msgspec
from flask import current_app

from remotejobs.aliases import resolve
from remotejobs.destination import Destination
from remotejobs.errors import HostKeyUnknown
from remotejobs.shell import LocalShell, Shell, SSHShell
from remoteweb import sources
from remoteweb.given_keys import given_keys
from remoteweb.models import Server
from remoteweb.paths import state_folder

CONNECT_SECONDS = 20.0


def unattended(server: Server) -> Shell:
    """For the worker: the keys that it was given, else the agent and the keys of whoever started it, and nobody to ask."""
    return _shell(server, None, None, CONNECT_SECONDS)


def by_hand(
    password: str | None, timeout: float, accept: Callable[[HostKeyUnknown], bool] | None = None
) -> Callable[[Server], Shell]:
    """For a command: a password if one was given, and somebody to ask about a host key."""

    def shell(server: Server) -> Shell:
        return _shell(server, password, accept, min(CONNECT_SECONDS, timeout))

    return shell


def _shell(
    server: Server,
    password: str | None,
    accept: Callable[[HostKeyUnknown], bool] | None,
    connect_timeout: float,
) -> Shell:
    if server.is_local:
        return LocalShell()
    keys = msgspec.json.decode(server.key_files, type=list[str])
    given = given_keys(current_app.config["SSH_KEYS"])
    if given is not None:
        keys = [str(key) for key in given if str(key) in keys] or [str(key) for key in given]
    home = Path.home()
    return SSHShell(
        Destination(server.host, server.port, server.user, port_given=True),
        password=password,
        keys=keys,
        allow_agent=given is None,
        look_for_keys=given is None and not keys,
        config=False,  # the alias was resolved when the server was added, and is not asked again
        accept_host_key=accept,
        # Ours is the first: what a person accepts here is kept here. What ssh knows counts as well.
        known_hosts=[
            state_folder() / "known_hosts",
            home / ".ssh" / "known_hosts",
            Path("/etc/ssh/ssh_known_hosts"),
        ],
        connect_timeout=connect_timeout,
    )


def server_named(text: str) -> Server:
    """The row of what a person typed, made when it is new. Raises BadDestination, LoginError."""
    destination = Destination.parse(text)
    is_bare = destination.user is None and not destination.port_given
    if is_bare and (known := sources.by_alias(destination.host)):
        return known
    target = resolve(destination, _config())
    # Only the bare name is an alias: with a user or a port before or after it, it means something else.
    alias = destination.host if is_bare and target.host != destination.host else ""
    return sources.server(
        target.user, target.host, target.port, alias=alias, key_files=[str(path) for path in target.key_files]
    )


def known_server(text: str) -> Server | None:
    """The same, without making one."""
    destination = Destination.parse(text)
    if (
        destination.user is None
        and not destination.port_given
        and (known := sources.by_alias(destination.host))
    ):
        return known
    target = resolve(destination, _config())
    return sources.known(target.user, target.host, target.port)


def _config() -> Path:
    return Path.home() / ".ssh" / "config"
