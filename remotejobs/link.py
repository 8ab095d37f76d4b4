"""One logged-in SSH connection, through fabric, with our own check of the host key."""

import logging
import socket
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from remotejobs.aliases import Target
from remotejobs.errors import RemoteJobsError, TimedOut, Unreachable
from remotejobs.hostkeys import AcceptedKeys, HostKey
from remotejobs.logins import Login
from remotejobs.wire import QuickSocket, Watchdog, dial, shut

if TYPE_CHECKING:
    from paramiko import Channel, PKey, Transport

# paramiko still offers these; a server that speaks nothing better is refused.
WEAK = {
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"],
    "macs": ["hmac-sha1", "hmac-sha1-96", "hmac-md5", "hmac-md5-96"],
}
# paramiko has bounds of its own in many places, and none in others. The watchdog is the one that counts.
NEVER = 3600.0


class Link:
    """An authenticated connection; `open` makes it. Closing leaves no socket and no thread."""

    def __init__(self, target: Target, connection: Any, sock: socket.socket) -> None:
        self.target = target
        self.socket = sock
        self._connection = connection

    @classmethod
    def open(
        cls, target: Target, login: Login, accepted: AcceptedKeys, how_to_accept: str, seconds: float
    ) -> "Link":
        """Raises LoginError, Unreachable, TimedOut. `seconds` bound the connect, and once more the login."""
        sock = dial(target.host, target.port, seconds)
        link = None
        try:
            link = cls(target, _connection(target, login, sock, accepted, how_to_accept), sock)
            link._log_in(seconds)
            return link
        except BaseException:
            if link:
                link.close()
            sock.close()
            raise

    def _log_in(self, seconds: float) -> None:
        import paramiko

        with Watchdog(self.socket, seconds) as watchdog:
            try:
                self._connection.open()
            except RemoteJobsError as error:
                # A login that was cut short looks like one that was refused.
                if not watchdog.expired:
                    raise
                raise self._too_slow(seconds) from error
            except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
                if watchdog.expired:
                    raise self._too_slow(seconds) from None
                raise Unreachable(
                    f"{self.place} hung up, or speaks no SSH that we can use: {plain(error)}."
                ) from None

    def _too_slow(self, seconds: float) -> TimedOut:
        return TimedOut(
            f"{self.place} took the connection, but the login was not done within {seconds:.0f} s."
        )

    @property
    def place(self) -> str:
        return f"{self.target.host} (port {self.target.port})"

    @property
    def transport(self) -> "Transport | None":
        return self._connection.client.get_transport()

    @property
    def alive(self) -> bool:
        """Only whether the end of it has been seen; a link that died silently still counts as alive."""
        transport = self.transport
        return transport is not None and transport.is_active()

    def settled(self) -> bool:
        """As `alive`, once paramiko's thread had a moment to notice an end that its channels saw."""
        if self.transport is not None:
            self.transport.join(0.1)
        return self.alive

    def session(self) -> "Channel":
        if self.transport is None:
            raise EOFError("the connection is closed")
        return self.transport.open_session(timeout=NEVER)

    def close(self) -> None:
        transport = self.transport
        # fabric closes nothing after a failed login, so the client is closed by ourselves.
        shut(self.socket)
        self._connection.client.close()
        self.socket.close()
        if transport is not None:
            transport.packetizer.complete_handshake()  # ends a timer that outlives a failed start by 15 s
            transport.join(2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def plain(error: BaseException) -> str:
    """A library's or the server's own words, on one line and without what a terminal would act on."""
    words = " ".join(str(error).split()) or type(error).__name__
    return "".join(c for c in words if c.isprintable())[:200].rstrip(".")


def _connection(
    target: Target, login: Login, sock: socket.socket, accepted: AcceptedKeys, how_to_accept: str
) -> Any:
    import fabric

    # paramiko's errors come back as exceptions; without a handler they would also land on a user's terminal.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    # Lazily, and without ssh_config: fabric otherwise runs ~/.fabric.py, and follows jumps unchecked.
    overrides = {
        "load_ssh_configs": False,
        "authentication": {"strategy_class": lambda **_: login},
        "inline_ssh_env": False,
    }
    connection = fabric.Connection(
        target.host,
        user=target.user,
        port=target.port,
        config=fabric.Config(lazy=True, overrides=overrides),
        connect_kwargs={
            # No compression: answers come packed, and on loopback it made 3 MB of text three times as slow.
            "sock": QuickSocket(sock),
            "timeout": NEVER,
            "banner_timeout": NEVER,
            "auth_timeout": NEVER,
            "channel_timeout": NEVER,
            "transport_factory": _transport_factory(accepted.types),
        },
    )
    connection.client.set_missing_host_key_policy(_OwnCheck(target, accepted, how_to_accept))
    return connection


def _transport_factory(known_types: list[str]) -> Callable[..., "Transport"]:
    def make(sock: QuickSocket, **_: object) -> "Transport":
        import paramiko

        class Attentive(paramiko.Transport):  # type: ignore[misc]
            """Remembers what broke it: a login that the server ends says goodbye first, a link that breaks does not."""

            broken_by: Exception | None = None

            def get_exception(self) -> Exception | None:
                error: Exception | None = super().get_exception()
                if isinstance(error, EOFError | OSError):
                    self.broken_by = error
                return error

        transport = Attentive(sock, disabled_algorithms=WEAK)
        options = transport.get_security_options()
        known = {"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in known_types else set()
        known |= set(known_types)
        options.key_types = sorted(options.key_types, key=lambda kind: kind not in known)
        options.digests = sorted(options.digests, key=lambda digest: "etm" not in digest)
        return transport

    return make


class _OwnCheck:
    """paramiko's table stays empty, so it asks this for every key, before anything about the user is sent."""

    def __init__(self, target: Target, accepted: AcceptedKeys, how_to_accept: str) -> None:
        self._target = target
        self._accepted = accepted
        self._how = how_to_accept

    def missing_host_key(self, client: object, hostname: str, key: "PKey") -> None:
        port = "" if self._target.port == 22 else f":{self._target.port}"
        server = f"{self._target.host}{port}"
        self._accepted.check(HostKey(key.get_name(), key.asbytes()), server, self._how)
