"""A person for tests, who answers what a login asks, and a server that asks what sshd does not."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko
from cluster.sshd import make_key

from remotejobs.prompts import Prompt


class Somebody:
    """Gives these answers, one round after the other; None gives up. Notices get no answer."""

    def __init__(self, *rounds: Sequence[str] | None) -> None:
        self._rounds = list(rounds)
        self.asked: list[Prompt] = []

    def __call__(self, prompt: Prompt) -> Sequence[str] | None:
        self.asked.append(prompt)
        return self._rounds.pop(0) if prompt.questions else ()

    @property
    def texts(self) -> list[list[str]]:
        return [[question.text for question in prompt.questions] for prompt in self.asked]


class AskingServer(paramiko.ServerInterface):
    """Asks these rounds, whatever is answered, and then lets nobody in; `answers` are what it got."""

    def __init__(self, *rounds: paramiko.InteractiveQuery) -> None:
        self._rounds = list(rounds)
        self.answers: list[list[str]] = []

    def get_allowed_auths(self, username: str) -> str:
        return "keyboard-interactive"

    def check_auth_interactive(self, username: str, submethods: str) -> paramiko.InteractiveQuery:
        return self._rounds.pop(0)

    def check_auth_interactive_response(self, responses: list[str]) -> paramiko.InteractiveQuery | int:
        self.answers.append(responses)
        return self._rounds.pop(0) if self._rounds else paramiko.AUTH_FAILED


@contextmanager
def serving(server: paramiko.ServerInterface, folder: Path) -> Iterator[tuple[int, str]]:
    """Its port, and the line of its host key; one connection is served."""
    key = paramiko.Ed25519Key.from_private_key_file(str(make_key(folder / "host")))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            with suppress(OSError):
                transport = paramiko.Transport(listener.accept()[0])
                transport.add_server_key(key)
                transport.start_server(event=threading.Event(), server=server)
                transport.join(20)

        thread = threading.Thread(target=serve)
        thread.start()
        yield port, f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}"
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)
