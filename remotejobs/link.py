"""One logged-in SSH connection, through fabric, with our own check of the host key."""

import logging
import socket
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from remotejobs.errors import LoginUnanswered, RemoteJobsError, ServerProblem, TimedOut, Unreachable
from remotejobs.foreign import plain
from remotejobs.hostkeys import AcceptedKeys, HostKey
from remotejobs.logins import Login
from remotejobs.target import Target
from remotejobs.wire import Ending, Heard, QuickSocket, Watchdog, dial, shut

if TYPE_CHECKING:
    from paramiko import Channel, PKey

    from remotejobs.transport import BoundedTransport

# paramiko has bounds of its own in many places, and none in others. The watchdog is the one that counts.
NEVER = 3600.0
_PROHIBITED = 1  # SSH_OPEN_ADMINISTRATIVELY_PROHIBITED


class Link:
    """An authenticated connection; `open` makes it, perhaps through another. Closing leaves no socket and no thread of any."""

    def __init__(self, target: Target, connection: Any, wire: Heard, through: "Link | None") -> None:
        self.target = target
        self.wire = wire
        self._connection = connection
        self._through = through

    @classmethod
    def open(
        cls,
        target: Target,
        login: Login,
        accepted: AcceptedKeys,
        how_to_accept: str,
        seconds: float,
        through: "Link | None" = None,
        ending: Ending | None = None,
    ) -> "Link":
        """Raises LoginError, Unreachable, TimedOut; then `through` is still open, and the caller's to close.

        `seconds` bound the connect, and once more the login. `ending` ends both.
        """
        ending = ending or Ending()
        ending.check()
        wire = (
            through.wire_to(target, seconds)
            if through
            else QuickSocket(dial(target.host, target.port, seconds))
        )
        link = None
        try:
            ending.watch(through.root if through else wire.plain)
            connection = _connection(target, login, wire, accepted, how_to_accept)
            link = cls(target, connection, wire, through)
            link._log_in(login, seconds)
            link._live().keep_alive()
            return link
        except BaseException:
            if link:
                link._close_mine()
            wire.close()
            raise

    def wire_to(self, target: Target, seconds: float) -> Heard:
        """A connection from the server that this link leads to on to `target`, which only this link's server sees."""
        import paramiko

        with Watchdog(self.root, seconds) as watchdog:
            try:
                channel = self._live().open_channel(
                    "direct-tcpip", (target.host, target.port), ("127.0.0.1", 0), timeout=NEVER
                )
                return Heard(channel)
            except (paramiko.SSHException, OSError, EOFError) as error:
                caught = error
        if watchdog.expired:
            raise TimedOut(
                f"{self.place} did not connect us to {target.label} within {seconds:.0f} s. Is {target.host} up?"
            )
        code, words = getattr(caught, "code", None), getattr(caught, "text", caught)
        if code == _PROHIBITED:
            raise ServerProblem(
                f"{self.place} let us in, but does not pass connections on to {target.label}: its administrators "
                "forbid that (AllowTcpForwarding), or this key may not."
            )
        raise Unreachable(f"{self.place} got no connection to {target.label}: {plain(words)}.")

    def _log_in(self, login: Login, seconds: float) -> None:
        with Watchdog(self.root, seconds) as watchdog:
            login.use_clock(watchdog)
            try:
                self._connection.open()
            except RemoteJobsError as error:
                # A login that was cut short looks like one that was refused.
                if not watchdog.expired or isinstance(error, LoginUnanswered):
                    raise
                raise self._too_slow(watchdog.seconds) from error
            except Exception as error:  # nonsense from a server makes paramiko raise anything
                if watchdog.expired:
                    raise self._too_slow(watchdog.seconds) from None
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
    def root(self) -> socket.socket:
        """The socket on this machine: to shut it down ends every hop."""
        root: socket.socket = self._through.root if self._through else self.wire.plain
        return root

    @property
    def transport(self) -> "BoundedTransport | None":
        transport: BoundedTransport | None = self._connection.client.get_transport()
        return transport

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

    def end_seen(self) -> Exception:
        """What ended it, as far as that is known."""
        if self.transport is not None:
            self.transport.get_exception()
            if self.transport.broken_by is not None:
                return self.transport.broken_by
        return EOFError("nobody said why")

    def begin(self, command: str) -> "Channel":
        """The channel on which it runs. Raises OSError, EOFError, SSHException."""
        import paramiko

        channel = None
        try:
            channel = self._live().open_session(timeout=NEVER)
            channel.exec_command(command)
            begun, channel = channel, None
            return begun
        except (paramiko.SSHException, OSError, EOFError):
            raise
        except Exception as error:  # nonsense from a server makes paramiko raise anything
            raise EOFError(plain(error)) from error
        finally:
            if channel is not None:
                channel.close()

    def _live(self) -> "BoundedTransport":
        if self.transport is None:
            raise EOFError("the connection is closed")
        return self.transport

    def close(self) -> None:
        shut(self.root)
        self._close_mine()
        if self._through:
            self._through.close()

    def _close_mine(self) -> None:
        transport = self.transport
        if not self._through:
            shut(self.root)
        # fabric closes nothing after a failed login, so the client is closed by ourselves.
        self._connection.client.close()
        self.wire.close()
        if transport is not None:
            transport.packetizer.complete_handshake()  # ends a timer that outlives a failed start by 15 s
            transport.join(2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _connection(target: Target, login: Login, wire: Heard, accepted: AcceptedKeys, how_to_accept: str) -> Any:
    import fabric

    from remotejobs.transport import BoundedTransport

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
            "sock": wire,
            "timeout": NEVER,
            "banner_timeout": NEVER,
            "auth_timeout": NEVER,
            "channel_timeout": NEVER,
            "transport_factory": lambda sock, **_: BoundedTransport(sock, accepted.types),
        },
    )
    connection.client.set_missing_host_key_policy(_OwnCheck(target, accepted, how_to_accept))
    return connection


class _OwnCheck:
    """paramiko's table stays empty, so it asks this for every key, before anything about the user is sent."""

    def __init__(self, target: Target, accepted: AcceptedKeys, how_to_accept: str) -> None:
        self._target = target
        self._accepted = accepted
        self._how = how_to_accept

    def missing_host_key(self, client: object, hostname: str, key: "PKey") -> None:
        self._accepted.check(HostKey(key.get_name(), key.asbytes()), self._target.label, self._how)
