"""paramiko's transport, with bounds where it has none: what a server can make us keep, and for how long it may be silent."""

import time
from collections.abc import Callable
from typing import Any, ClassVar

import paramiko
from paramiko.common import (
    DEFAULT_WINDOW_SIZE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EXTENDED_DATA,
    cMSG_GLOBAL_REQUEST,
)
from paramiko.packet import Packetizer

from remotejobs.wire import Heard

# paramiko still offers these; a server that speaks nothing better is refused.
WEAK = {
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"],
    "macs": ["hmac-sha1", "hmac-sha1-96", "hmac-md5", "hmac-md5-96"],
}
MAX_PACKET = 256 << 10  # bytes, as OpenSSH; paramiko would wait for, and keep, four gigabytes
MAX_GREETING = 64 << 10  # bytes before the protocol begins
MAX_UNREAD = 2 * DEFAULT_WINDOW_SIZE  # bytes of a channel; a server that keeps to its window sends half of it
MAX_EXTENSIONS = 64
KEEPALIVE = 15.0  # seconds without a word, after which the server is asked for a sign of life
SILENCE = 3  # such times in a row, and it is taken for gone


class BoundedPackets(Packetizer):  # type: ignore[misc]
    def __init__(self, sock: Heard) -> None:
        super().__init__(sock)
        self._greeting = 0

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        if n > MAX_PACKET:
            raise paramiko.SSHException(f"it announced a packet of {n} bytes")
        data: bytes = super().read_all(n, check_rekey)
        return data

    def _read_timeout(self, timeout: float) -> bytes:
        data: bytes = super()._read_timeout(timeout)
        self._greeting += len(data)
        if self._greeting > MAX_GREETING:
            raise paramiko.SSHException("its greeting has no end")
        return data


def _feed(channel: Any, take: Callable[[Any], None], message: Any) -> None:
    """paramiko keeps whatever comes, also from a server that does not wait until there is room."""
    if len(channel.in_buffer) + len(channel.in_stderr_buffer) > MAX_UNREAD:
        raise paramiko.SSHException("it sent more than it was allowed to")
    take(message)


class BoundedTransport(paramiko.Transport):  # type: ignore[misc]
    """Also remembers what broke it: a login that the server ends says goodbye first, a link that breaks does not."""

    def __init__(self, sock: Heard, known_types: list[str]) -> None:
        """`known_types`: of the host keys that are accepted, which the server is asked for first."""
        super().__init__(sock, disabled_algorithms=WEAK, packetizer_class=BoundedPackets)
        self.broken_by: Exception | None = None
        self._wire = sock
        self._ask_for(known_types)

    def _ask_for(self, known_types: list[str]) -> None:
        options = self.get_security_options()
        known = {"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in known_types else set()
        known |= set(known_types)
        options.key_types = sorted(options.key_types, key=lambda kind: kind not in known)
        options.digests = sorted(options.digests, key=lambda digest: "etm" not in digest)

    def get_exception(self) -> Exception | None:
        error: Exception | None = super().get_exception()
        if error is not None and not isinstance(error, paramiko.AuthenticationException):
            self.broken_by = error
        return error

    def keep_alive(self) -> None:
        """From now on a silent link is noticed, also one that nobody uses: the transport then ends."""
        self.packetizer.set_keepalive(KEEPALIVE, self._ask_for_a_sign)

    def _ask_for_a_sign(self) -> None:
        """Called by the thread that reads. paramiko's own request asks for no answer, and so proves nothing."""
        if time.monotonic() - self._wire.last > SILENCE * KEEPALIVE:
            raise EOFError("it was silent for too long")
        if self.clear_to_send.is_set():
            message = paramiko.Message()
            message.add_byte(cMSG_GLOBAL_REQUEST)
            message.add_string("keepalive@openssh.com")
            message.add_boolean(True)
            self._send_message(message)

    def _parse_ext_info(self, message: Any) -> None:
        if message.get_int() > MAX_EXTENSIONS:
            raise paramiko.SSHException("it announced extensions without end")
        message.rewind()
        super()._parse_ext_info(message)

    _channel_handler_table: ClassVar = {
        **paramiko.Transport._channel_handler_table,
        MSG_CHANNEL_DATA: lambda channel, message: _feed(channel, channel._feed, message),
        MSG_CHANNEL_EXTENDED_DATA: lambda channel, message: _feed(channel, channel._feed_extended, message),
    }
