"""Whom a login may ask, and how long it may wait for them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Literal

from remotejobs.errors import LoginUnanswered, RemoteJobsError
from remotejobs.foreign import line, lines
from remotejobs.prompts import MAX_ANSWER, Kind, Prompt, Prompter, Question
from remotejobs.target import Target
from remotejobs.wire import Watchdog


class Person:
    """Somebody, or nobody (`prompter` None), for one login at `target`: `seconds` are for all questions of it together.

    Their time, and the server's while it waits for them, is not taken from the login's own.
    """

    def __init__(self, prompter: Prompter | None, seconds: float, target: Target) -> None:
        self._prompter = prompter
        self._left = seconds
        self._target = target
        self.watchdog: Watchdog | None = None
        self.has_taken_a_step = False

    @property
    def is_there(self) -> bool:
        return self._prompter is not None

    @contextmanager
    def time(self) -> Iterator[None]:
        """Around what a person takes part in: their clock runs, and the login's stands."""
        began = time.monotonic()
        with self.watchdog.other_clock(self._left) if self.watchdog else nullcontext():
            self._end = began + self._left
            try:
                yield
            finally:
                self._left = max(0.0, self._end - time.monotonic())

    def ask_secret(self, kind: Literal["password", "passphrase"], text: str) -> str:
        return self._ask(self._prompt(kind, [(text, False)]))[0]

    def ask_for_server(
        self, title: str, instructions: str, questions: Sequence[tuple[str, bool]]
    ) -> list[str]:
        """Without questions it is only shown."""
        prompt = self._prompt("code", questions)
        return self._ask(replace(prompt, title=line(title), instructions=lines(instructions)))

    def _prompt(self, kind: Kind, questions: Sequence[tuple[str, bool]]) -> Prompt:
        asked = tuple(Question(lines(text), echo) for text, echo in questions)
        where = (self._target.label, self._target.user)
        return Prompt(kind, *where, asked, self._seconds, is_further=self.has_taken_a_step)

    @property
    def _seconds(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def _ask(self, prompt: Prompt) -> list[str]:
        """Within `time()`. Raises LoginUnanswered."""
        wanted = ", ".join(repr(line(question.text, 60)) for question in prompt.questions) or "to be seen"
        if self._prompter is None:
            raise LoginUnanswered(
                f"{prompt.server} asks {prompt.user} for what only a person can answer ({wanted}), and nobody was there "
                "to be asked. Nothing was answered."
            )
        try:
            answers = self._prompter(prompt)
        except RemoteJobsError:
            raise
        except (
            Exception
        ) as error:  # it is not ours: whatever it is, it must not be taken for the connection's
            raise LoginUnanswered(
                f"{prompt.server} asked for {wanted}, and the question did not get through: {type(error).__name__}."
            ) from error
        if self.watchdog and self.watchdog.expired:
            raise LoginUnanswered(
                f"{prompt.server} asked for {wanted}, and the answer came too late. Try again."
            )
        if answers is None:
            raise LoginUnanswered(f"{prompt.server} asked for {wanted}, and got no answer. Try again.")
        return _checked(answers, prompt)


def _checked(answers: Sequence[str], prompt: Prompt) -> list[str]:
    if isinstance(answers, str) or len(answers) != len(prompt.questions):
        raise LoginUnanswered(
            f"{prompt.server} asked {len(prompt.questions)} questions, and got another number of answers."
        )
    if any(len(answer) > MAX_ANSWER for answer in answers):
        raise LoginUnanswered(f"{prompt.server} was not sent an answer of more than {MAX_ANSWER} characters.")
    return list(answers)
