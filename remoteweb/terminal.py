"""What the commands show and ask on a terminal. Remote text is cleaned before it gets there."""

import getpass
import sys
from collections.abc import Callable
from typing import Any

import click

from remotejobs.foreign import line
from remotejobs.prompts import Prompt
from remotejobs.terminal import accepts, answers, complain, is_interactive, say

__all__ = ["Bar", "Person", "accepts", "ask_password", "ask_user", "complain", "is_interactive", "say"]

_STAGES = {
    "waiting": "waiting for its shortest interval",
    "connecting": "connecting",
    "reading": "reading the records",
    "writing": "storing what changed",
}


def ask_user(user: str) -> str:
    return str(click.prompt("User name", default=user or getpass.getuser(), err=True)).strip()


def ask_password(user: str) -> str:
    """Of one login, and kept by nobody."""
    return str(click.prompt(f"Password of {line(user)}", hide_input=True, err=True))


class Person:
    """The library's prompter on a terminal. A password is asked for by the command itself, after the user name."""

    def __init__(self, before: Callable[[], None]) -> None:
        self._before = before
        self.was_needed = self.gave_up = False

    def __call__(self, prompt: Prompt) -> list[str] | None:
        self._before()
        if prompt.kind == "password":
            return None
        self.was_needed = True
        typed = answers(prompt)
        self.gave_up = typed is None
        return typed


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
