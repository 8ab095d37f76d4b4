"""What the commands show and ask on a terminal. Remote text is cleaned before it gets there."""

import getpass
import sys
from typing import Any

import click

from remotejobs.errors import HostKeyUnknown
from remoteweb.untrusted import line

_STAGES = {
    "waiting": "waiting for its shortest interval",
    "connecting": "connecting",
    "reading": "reading the records",
    "writing": "storing what changed",
}


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


def ask_login(server: str, user: str) -> tuple[str, str]:
    """User name and password, after agent and keys were refused. The password is kept by nobody."""
    say(f"No key lets us in to {line(server)}.")
    name = click.prompt("User name", default=user or getpass.getuser(), err=True)
    return str(name).strip(), str(click.prompt(f"Password of {line(name)}", hide_input=True, err=True))


class Bar:
    """The progress of one server on stderr, where that is a terminal: a stage, then a bar while records are
    stored.
    """

    def __init__(self, label: str, *, quiet: bool) -> None:
        self.label = line(label, 60)
        self.shown = sys.stderr.isatty() and not quiet
        self._bar: Any = None
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if not self.shown:
            return
        if stage != self._stage:
            self.close()
            self._stage = stage
            if stage == "writing" and total:
                self._bar = click.progressbar(length=total, label=self.label, file=sys.stderr)
                self._bar.__enter__()
            else:
                click.echo(f"{self.label}: {_STAGES.get(stage, stage)} ...", err=True, nl=False)
        if self._bar is not None:
            self._bar.update(done - self._bar.pos)

    def close(self) -> None:
        """Leaves an empty line's start behind, for whatever is said next."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        elif self._stage:
            click.echo("\r" + " " * 78 + "\r", err=True, nl=False)
        self._bar, self._stage = None, ""
