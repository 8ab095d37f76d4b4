"""What the commands say and ask on a terminal. Remote text is cleaned before it gets there."""

import getpass
import sys
from collections.abc import Callable

import click

from remotejobs.destination import Destination
from remotejobs.errors import HostKeyUnknown, LoginRefused
from remotejobs.foreign import line
from remotejobs.output import MAX_STDOUT, Output, Progress, Readable
from remotejobs.shell import SSHShell


def is_interactive() -> bool:
    """Somebody can read a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def say(text: str) -> None:
    """To stderr: stdout belongs to the results."""
    click.echo(text, err=True)


def complain(sentence: str) -> None:
    say(f"Error: {line(sentence, 1000)}")


def accepts(error: HostKeyUnknown) -> bool:
    """Show an unknown host key, and ask. Only a whole yes accepts it, as with OpenSSH."""
    say(f"The host key of {line(error.server)} is not known yet.")
    say(f"  {line(error.key_type)}  {line(error.fingerprint)}")
    say("Compare it with what the server's administrators publish.")
    answer = click.prompt("Accept this key for good? (yes/no)", default="no", err=True)
    return str(answer).strip().lower() == "yes"


def ask_login(server: str, user: str | None) -> tuple[str, str]:
    """User name and password, after agent and keys were refused. The password is kept by nobody."""
    say(f"No key lets us in to {line(server)}.")
    name = click.prompt("User name", default=user or getpass.getuser(), err=True)
    return str(name).strip(), str(click.prompt(f"Password of {line(name)}", hide_input=True, err=True))


class AskingShell:
    """A server whose user name and password are asked for, once, when agent and keys were refused."""

    def __init__(self, destination: Destination, accept: Callable[[HostKeyUnknown], bool] | None) -> None:
        self._where, self._accept = destination, accept
        self._shell = SSHShell(destination, accept_host_key=accept)
        self._asked = False
        self.connections = self.execs = 0

    def __str__(self) -> str:
        return str(self._where)

    def run(
        self,
        command: str,
        data: bytes | Readable = b"",
        timeout: float = 60.0,
        progress: Progress | None = None,
        limit: int = MAX_STDOUT,
    ) -> Output:
        try:
            return self._shell.run(command, data, timeout, progress, limit)
        except LoginRefused:
            if self._asked:
                raise
        finally:
            self.connections, self.execs = self._shell.connections, self._shell.execs
        # Nothing was read of `data` before the login.
        self._asked = True
        user, password = ask_login(str(self._where), self._where.user)
        where = Destination(self._where.host, self._where.port, user, self._where.port_given)
        self._shell = SSHShell(where, password=password, accept_host_key=self._accept)
        return self._shell.run(command, data, timeout, progress, limit)

    def close(self) -> None:
        self._shell.close()
