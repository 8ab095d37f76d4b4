"""What a server asks while a login waits: shown on the page of that login, and answered through the worker's socket."""

import queue
import secrets
import time
from collections.abc import Sequence

import msgspec
from flask import Flask

from remotejobs.prompts import Prompt
from remoteweb import logins
from remoteweb.handover import Listener
from remoteweb.untrusted import line
from remoteweb.ways import CONNECTING, Question

LOOK_SECONDS = 1.0
# Before the connection is closed for want of an answer, so that the page says why.
MARGIN_SECONDS = 1.0


class Asker:
    """The library's prompter for one login that a person began on a page."""

    def __init__(self, app: Flask, login_id: int, holder: str, listener: Listener) -> None:
        self._app, self._login_id, self._holder, self._listener = app, login_id, holder, listener
        self.was_needed = False  # a person had to do something: without one, the next login would fail

    def __call__(self, prompt: Prompt) -> Sequence[str] | None:
        """An answer for each question; None: given up, or not in time."""
        if not (prompt.questions or prompt.title or prompt.instructions):
            return ()  # PAM has a round without a word in it
        self.was_needed = True
        token = secrets.token_urlsafe(32)
        with self._listener.waiting(token) as answers:
            if not self._show(prompt, token):
                return None
            if not prompt.questions:
                return ()  # it stays on the page until the login moves on: the server waits for an approval
            typed = self._wait(answers, time.monotonic() + prompt.seconds - MARGIN_SECONDS)
        if not self._hide():
            return None
        return typed if typed is not None and len(typed) == len(prompt.questions) else None

    def _wait(self, answers: "queue.SimpleQueue[list[str]]", until: float) -> list[str] | None:
        while (left := until - time.monotonic()) > 0:
            try:
                return answers.get(timeout=min(left, LOOK_SECONDS))
            except queue.Empty:
                with self._app.app_context():
                    if not logins.is_still(self._login_id, self._holder):
                        return None
        return None

    def _show(self, prompt: Prompt, token: str) -> bool:
        asked = [{"text": question.text, "echo": question.echo} for question in prompt.questions]
        now = time.time()
        question = Question(
            login_id=self._login_id,
            token=token,
            socket=self._listener.name,
            kind=prompt.kind,
            server=line(prompt.server),
            user=line(prompt.user),
            title=prompt.title,
            instructions=prompt.instructions,
            questions=msgspec.json.encode(asked).decode(),
            asked_at=now,
            expires_at=now + prompt.seconds - MARGIN_SECONDS,
        )
        with self._app.app_context():
            return logins.ask(self._login_id, self._holder, question)

    def _hide(self) -> bool:
        """False: it was given up meanwhile."""
        with self._app.app_context():
            return logins.move(self._login_id, self._holder, CONNECTING)
