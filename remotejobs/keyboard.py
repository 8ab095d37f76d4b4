"""A keyboard-interactive login whose questions reach the thread that asked for it, in bounded number and size.

paramiko's own handler answers in the thread that reads the connection (there nobody can interrupt a person who types, and
a server that hangs up is not noticed), and believes a server that announces four thousand million questions.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from paramiko import Message, SSHException, Transport
from paramiko.auth_handler import AuthHandler
from paramiko.common import cMSG_USERAUTH_INFO_RESPONSE

from remotejobs.prompts import MAX_QUESTIONS

# Title, instructions, and the questions with whether the answers may be seen.
Answerer = Callable[[str, str, list[tuple[str, bool]]], Sequence[str]]


def conduct(transport: Transport, user: str, answer: Answerer) -> list[str]:
    """One login by this method; gives the methods that are still wanted. Raises what paramiko and `answer` raise."""
    handler = transport.auth_handler = _Handler(transport)
    over = threading.Event()
    handler.auth_interactive(user, None, over)
    while not over.is_set() and transport.is_active():
        try:
            asked = handler.rounds.get(timeout=0.1)
        except queue.Empty:
            continue
        handler.respond(answer(*asked))
    return list(handler.wait_for_response(over))


class _Handler(AuthHandler):  # type: ignore[misc]
    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.rounds: queue.SimpleQueue[tuple[str, str, list[tuple[str, bool]]]] = queue.SimpleQueue()

    def _parse_userauth_info_request(self, message: Any) -> None:
        """Called by the thread that reads."""
        if self.auth_method != "keyboard-interactive":
            raise SSHException("Illegal info request from server")
        title, instructions = _text(message), _text(message)
        message.get_string()  # a language
        number = message.get_int()
        if number > MAX_QUESTIONS:
            raise SSHException(f"it asked {number} questions at once")
        self.rounds.put(
            (title, instructions, [(_text(message), message.get_boolean()) for _ in range(number)])
        )

    def respond(self, answers: Sequence[str]) -> None:
        message = Message()
        message.add_byte(cMSG_USERAUTH_INFO_RESPONSE)
        message.add_int(len(answers))
        for answer in answers:
            message.add_string(answer)
        self.transport._send_message(message)


def _text(message: Any) -> str:
    text: str = message.get_string().decode("utf-8", "replace")
    return text
