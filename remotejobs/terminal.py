"""What the commands say and ask on a terminal. Remote text is cleaned before it gets there."""

import getpass
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import click

from remotejobs.destination import Destination
from remotejobs.errors import HostKeyUnknown, LoginRefused
from remotejobs.foreign import line
from remotejobs.output import MAX_STDOUT, Output, Progress, Readable
from remotejobs.prompts import Prompt
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


def answers(prompt: Prompt) -> list[str] | None:
    """A prompter for SSHShell: each question in its turn, hidden unless the answer may be seen."""
    if prompt.kind == "code":
        say(f"{prompt.server} asks {prompt.user}:")
        _quote(prompt.title, prompt.instructions)
    if not prompt.questions:
        say("Waiting for that.")
    given = []
    try:
        for question in prompt.questions:
            *menu, last = question.text.split("\n")
            _quote(*menu)
            asked = click.prompt(
                f"| {last}" if prompt.kind == "code" else last,
                default="",
                show_default=False,
                hide_input=not question.echo,
                prompt_suffix=" " if last.endswith(":") else ": ",
                err=True,
            )
            given.append(str(asked))
    except click.Abort:
        return None
    return given


def _quote(*texts: str) -> None:
    """The server's own words stand behind a bar: none of them can pass for a line of ours."""
    for text in texts:
        for part in text.split("\n") if text else ():
            say(f"| {part}")


class AskingShell:
    """A server on whose login a person at the terminal is asked what it wants; for their user name too, if they gave none."""

    def __init__(
        self,
        destination: Destination,
        accept: Callable[[HostKeyUnknown], bool] | None,
        jumps: Sequence[Destination] | None = None,
    ) -> None:
        self._where, self._accept, self._jumps = destination, accept, jumps
        self._has_name = destination.user is not None
        self._shell = self._new()
        self.connections = self.execs = 0

    def __str__(self) -> str:
        return str(self._where)

    def _new(self) -> SSHShell:
        return SSHShell(self._where, jumps=self._jumps, prompter=self._prompter, accept_host_key=self._accept)

    def _prompter(self, prompt: Prompt) -> list[str] | None:
        needs_name = not (self._has_name or prompt.is_further or prompt.kind == "passphrase")
        if needs_name and prompt.user == getpass.getuser():
            raise _WhoError(prompt.user)
        return answers(prompt)

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
        except _WhoError as who:
            # Nothing was read of `data` before the login.
            say(f"No key lets us in to {line(self._where)}.")
            user = str(click.prompt("User name", default=who.user, err=True)).strip()
        finally:
            self.connections, self.execs = self._shell.connections, self._shell.execs
        self._has_name = True
        self._where = replace(self._where, user=user)
        self._shell = self._new()
        return self._shell.run(command, data, timeout, progress, limit)

    def close(self) -> None:
        self._shell.close()


class _WhoError(LoginRefused):
    """No key was taken, and who logs in was never said."""

    def __init__(self, user: str) -> None:
        self.user = user
        super().__init__(f"No key lets {user} in.")
