"""Where commands run: on this machine, or at the other end of an SSH connection. Nothing else runs any."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol, Self

from remotejobs.aliases import resolve, resolve_jumps
from remotejobs.conversation import close_pipes, over_channel, over_pipes
from remotejobs.destination import Destination
from remotejobs.errors import HostKeyUnknown, ServerProblem, TimedOut, Unreachable
from remotejobs.foreign import plain
from remotejobs.hostkeys import AcceptedKeys, remember
from remotejobs.keyfiles import HeldKey
from remotejobs.link import Link
from remotejobs.logins import Login
from remotejobs.output import MAX_STDOUT, Answer, Output, Progress, Readable
from remotejobs.prompts import ANSWER_WITHIN, Prompter
from remotejobs.target import Target
from remotejobs.wire import Ending, Watchdog


class Shell(Protocol):
    """Runs a fixed command with data on its standard input; `connections` and `execs` count what it cost."""

    connections: int
    execs: int

    def run(
        self,
        command: str,
        data: bytes | Readable = b"",
        timeout: float = 60.0,
        progress: Progress | None = None,
        limit: int = MAX_STDOUT,
    ) -> Output:
        """Raises TimedOut after `timeout` s, AnswerBroken above `limit` bytes, Unreachable, LoginError."""
        ...

    def close(self) -> None: ...


class LocalShell:
    """This machine. A command starts in the home folder, as it does after an SSH login."""

    connections = 0

    def __init__(self) -> None:
        self.execs = 0

    def __str__(self) -> str:
        return "this machine"

    def run(
        self,
        command: str,
        data: bytes | Readable = b"",
        timeout: float = 60.0,
        progress: Progress | None = None,
        limit: int = MAX_STDOUT,
    ) -> Output:
        home = Path.home()
        process = subprocess.Popen(  # noqa: S603  a fixed command: all words of others come on standard input
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd=home if home.is_dir() else "/",
            bufsize=0,
        )
        self.execs += 1
        answer = Answer(limit, progress)
        try:
            over_pipes(process, data, answer, time.monotonic() + timeout)
        except BaseException as error:
            answer.discard()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimedOut(f"This machine did not finish the command within {timeout:.0f} s.") from None
            raise
        finally:
            close_pipes(process)
        return answer.output(process.returncode if process.returncode >= 0 else None)

    def close(self) -> None:
        """There is nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SSHShell:
    """A server. Connects at the first `run`, once, and again only if the connection has ended since.

    `destination` is looked up in ~/.ssh/config (with `config`), or is a Target, which is taken as it stands. `jumps` are
    the servers on the way to it, the first one first, instead of those that the file names.

    `keys` and `passphrase` are used at every hop, `password` at the last one alone, and there `held_keys`, before all others
    or (`only_held_keys`) instead of them. `key_accepted` is told the public half of the key that the last hop took, whichever
    it was, once that hop has let us in. Without `prompter` nobody is asked anything; with one, it is asked for passphrases,
    passwords and codes, and may take `answer_within` seconds per hop, the server's own waiting (for an approval on a phone)
    included.

    Host keys count that stand in the files `known_hosts` or among the lines `extra_host_keys`, several per name.
    `accept_host_key` gets a HostKeyUnknown, which may be of a jump, and may say yes for a person; the key is then handed to
    `store_host_key`, or without that added to the first of `known_hosts`. Nobody is asked about a changed key.

    `logged_in` is called each time that a login is done, before a command is sent: what it raises ends the connection.
    """

    def __init__(
        self,
        destination: Destination | Target,
        *,
        password: str | None = None,
        passphrase: str | None = None,
        keys: Sequence[str | Path] = (),
        held_keys: Sequence[HeldKey] = (),
        only_held_keys: bool = False,
        key_accepted: Callable[[bytes], None] | None = None,
        allow_agent: bool = True,
        look_for_keys: bool = True,
        config: bool = True,
        jumps: Sequence[Destination | Target] | None = None,
        prompter: Prompter | None = None,
        answer_within: float = ANSWER_WITHIN,
        accept_host_key: Callable[[HostKeyUnknown], bool] | None = None,
        store_host_key: Callable[[HostKeyUnknown], None] | None = None,
        known_hosts: Sequence[Path] | None = None,
        extra_host_keys: Iterable[str] = (),
        connect_timeout: float = 20.0,
        logged_in: Callable[[], None] | None = None,
    ) -> None:
        self.destination = destination
        self.connections = 0
        self.execs = 0
        self._password, self._passphrase = password, passphrase
        self._keys = [Path(key).expanduser() for key in keys]
        self._held_keys, self._only_held_keys, self._key_accepted = held_keys, only_held_keys, key_accepted
        self._allow_agent, self._look_for_keys = allow_agent, look_for_keys
        self._config = config
        self._jumps = jumps
        self._prompter, self._answer_within = prompter, answer_within
        self._accept_host_key, self._store_host_key = accept_host_key, store_host_key
        self._known_hosts = known_hosts
        self._extra_host_keys = list(extra_host_keys)
        self._connect_timeout = connect_timeout
        self._logged_in, self._ending = logged_in, Ending()
        self._link: Link | None = None
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return self.destination.label if isinstance(self.destination, Target) else str(self.destination)

    def __repr__(self) -> str:
        return f"SSHShell({str(self)!r})"

    def run(
        self,
        command: str,
        data: bytes | Readable = b"",
        timeout: float = 60.0,
        progress: Progress | None = None,
        limit: int = MAX_STDOUT,
    ) -> Output:
        with self._lock:
            link = self._link = self._connected()
            answer = Answer(limit, progress)
            try:
                with Watchdog(link.root, timeout) as watchdog:
                    status = self._exec(link, command, data, answer, watchdog)
            except BaseException:
                answer.discard()
                if not link.settled():
                    self.close()
                raise
            if watchdog.expired:
                self.close()  # the answer was whole, the connection is not
            return answer.output(status)

    def _exec(
        self, link: Link, command: str, data: bytes | Readable, answer: Answer, watchdog: Watchdog
    ) -> int | None:
        import paramiko

        error: Exception
        try:
            self.execs += 1
            status = over_channel(link.begin(command), data, answer)
            # A broken connection ends every stream like an orderly end does, only without a status.
            if status is not None or link.settled():
                return status
            error = link.end_seen()
        except (paramiko.SSHException, EOFError, OSError) as caught:
            error = caught
        if watchdog.expired:
            raise TimedOut(
                f"{self} did not answer in time. What it was doing may go on there; ask again later."
            )
        if link.settled():
            raise ServerProblem(f"{self} let us in, but does not run a command: {plain(error)}.")
        raise Unreachable(
            f"The connection to {self} broke: {plain(error)}. What it was doing may go on there."
        )

    def _connected(self) -> Link:
        if self._link and self._link.alive:
            return self._link
        self.close()
        home = Path.home() / ".ssh"
        target = self._target(home / "config" if self._config else None)
        files = self._known_hosts
        if files is None:
            files = [home / "known_hosts", Path("/etc/ssh/ssh_known_hosts")]
        for _ in target.hops:
            try:
                return self._open(target, files)
            except HostKeyUnknown as unknown:
                if not self._accept_host_key or not self._accept_host_key(unknown):
                    raise
                # While a person compared fingerprints the server may have hung up, so all was closed.
                self._remember(unknown, files)
        return self._open(target, files)

    def _target(self, config: Path | None) -> Target:
        if isinstance(self.destination, Destination):
            return resolve(self.destination, config, self._jumps)
        if self._jumps is None:
            return self.destination
        return replace(self.destination, jumps=resolve_jumps(self._jumps, config))

    def _remember(self, unknown: HostKeyUnknown, files: Sequence[Path]) -> None:
        if self._store_host_key:
            self._store_host_key(unknown)
        elif files:
            remember(files[0], unknown.line)
        self._extra_host_keys.append(unknown.line)

    def _open(self, target: Target, files: Sequence[Path]) -> Link:
        """One hop after the other; each has a check of its host key, a login and a time of its own."""
        self.connections += 1
        link: Link | None = None
        hops = target.hops
        try:
            for hop in hops:
                accepted = AcceptedKeys(hop.key_name, files, self._extra_host_keys)
                login = self._login(hop, is_last=hop is hops[-1])
                how = self._how_to_accept(hop)
                link = Link.open(hop, login, accepted, how, self._connect_timeout, link, self._ending)
            if self._logged_in:
                self._logged_in()
            if self._key_accepted and login.accepted_key:
                self._key_accepted(login.accepted_key)
        except BaseException:
            if link:
                link.close()
            raise
        assert link is not None  # noqa: S101 (the target is a hop itself)
        return link

    def _login(self, hop: Target, *, is_last: bool) -> Login:
        return Login(
            hop,
            # A password belongs to one server: a jump, which somebody else may run, never gets it.
            password=self._password if is_last else None,
            passphrase=self._passphrase,
            keys=self._keys,
            held_keys=self._held_keys if is_last else (),
            only_held_keys=is_last and self._only_held_keys,
            allow_agent=self._allow_agent,
            look_for_keys=self._look_for_keys,
            prompter=self._prompter,
            answer_within=self._answer_within,
        )

    def _how_to_accept(self, target: Target) -> str:
        if self._accept_host_key:
            return "Compare the fingerprint with the one that the server's administrators publish."
        return (
            f"Run `{target.ssh}` in a terminal, compare the fingerprint with the "
            "one that the server's administrators publish, and accept it there."
        )

    @property
    def is_open(self) -> bool:
        """Logged in, as far as is known: a link that died silently still counts."""
        link = self._link
        return link is not None and link.alive

    def end(self) -> None:
        """From any thread: what goes on ends with Unreachable, a login that waits for somebody too, and none begins again."""
        self._ending.now()

    def close(self) -> None:
        if self._link:
            self._link.close()
            self._link = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
