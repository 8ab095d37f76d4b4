"""Asking a server whether it would take a key, before a person types its passphrase for nothing (RFC 4252, section 7)."""

import threading
from typing import Any

from paramiko import BadAuthenticationType, Message, Transport
from paramiko.auth_handler import AuthHandler
from paramiko.common import cMSG_USERAUTH_REQUEST


def is_wanted(transport: Transport, user: str, blob: bytes) -> bool:
    """`blob` is the public key. Raises BadAuthenticationType if the server takes no keys at all."""
    handler = transport.auth_handler = _Query(transport, blob)
    over = threading.Event()
    handler.auth_publickey(user, None, over)
    while not over.wait(0.1) and transport.is_active():
        pass
    if not transport.is_active():
        return False
    error = transport.get_exception()  # a refusal is an answer
    if isinstance(error, BadAuthenticationType):
        raise error
    return handler.is_wanted


class _Query(AuthHandler):  # type: ignore[misc]
    def __init__(self, transport: Transport, blob: bytes) -> None:
        super().__init__(transport)
        self.is_wanted = False
        self._blob = blob

    def _parse_service_accept(self, _: Any) -> None:
        """As paramiko's own, but with the flag that says that this is only a question, and without a signature."""
        kind = Message(self._blob).get_text()
        message = Message()
        message.add_byte(cMSG_USERAUTH_REQUEST)
        for text in (self.username, "ssh-connection", "publickey"):
            message.add_string(text)
        message.add_boolean(False)
        message.add_string(self._finalize_pubkey_algorithm(kind))
        message.add_string(self._blob)
        self.transport._send_message(message)

    def _parse_userauth_info_request(self, _: Any) -> None:
        """Message 60, which is a yes to a question about a key."""
        self.is_wanted = True
        if self.auth_event:
            self.auth_event.set()
