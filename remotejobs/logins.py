"""How we are let in: by keys, by a password, and by what the server asks a person."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from remotejobs.errors import KeyLocked, LoginError, LoginRefused, LoginUnanswered
from remotejobs.keyfiles import HeldKey, Offer
from remotejobs.offers import Offers
from remotejobs.person import Person
from remotejobs.prompts import ANSWER_WITHIN, MAX_ROUNDS, Prompter
from remotejobs.target import Target
from remotejobs.wire import Watchdog

if TYPE_CHECKING:
    from paramiko import Transport

# OpenSSH hangs up after six tries; each key is one, and a password must have its turn.
MAX_KEYS = 5
_NO_KEYS = "It takes no keys."
MAX_STEPS = 5  # that a server may want one after the other
# What a hidden question must not say for a password, which was given beforehand, to be its answer.
_CODE = re.compile(r"code|token|otp|one.?time|factor|verif|challenge|pin\b|new password", re.IGNORECASE)


class Login:
    """One login, as an authentication strategy for fabric. Never shows a secret, and tries nothing twice."""

    def __init__(
        self,
        target: Target,
        *,
        password: str | None = None,
        passphrase: str | None = None,
        keys: Sequence[Path] = (),
        held_keys: Sequence[HeldKey] = (),
        only_held_keys: bool = False,
        allow_agent: bool = True,
        look_for_keys: bool = True,
        prompter: Prompter | None = None,
        answer_within: float = ANSWER_WITHIN,
    ) -> None:
        self._target = target
        self._password = password
        self._person = Person(prompter, answer_within, target)
        self._offers = Offers(
            target,
            keys,
            passphrase,
            self._person,
            allow_agent=allow_agent,
            look_for_keys=look_for_keys,
            is_wanted=self._is_wanted,
            held=held_keys,
            only_held=only_held_keys,
        )
        self._keys = iter(self._offers)
        self._obstacles = self._offers.obstacles
        self._tried: list[str] = []
        self.accepted_key = b""  # the public half of the key that was taken, perhaps as one step of several
        self._too_early: Offer | None = None
        self._taken: list[str] | None = None  # the methods that the server says it takes
        self._keys_tried = self._rounds = 0
        self._password_sent = self._was_refused = self._is_over = False

    def use_clock(self, watchdog: Watchdog) -> None:
        """Which a person's time is not to be taken from."""
        self._person.watchdog = watchdog

    def authenticate(self, transport: "Transport") -> list[str]:
        """Called by paramiko once the host key is accepted.

        Raises LoginRefused with what was tried, LoginUnanswered, KeyLocked, or what broke the link before the server had
        refused anything: whom it would have let in is not known then, and it may be asked again without a person.
        """
        wanted: list[str] | None = None
        self._transport = transport
        try:
            for _ in range(MAX_STEPS):
                wanted = self._step(transport, wanted)
                if transport.is_authenticated():
                    return []
                if wanted is None or not transport.is_active():
                    break
        finally:
            self._keys.close()  # the agent's connection goes with it
        if not transport.is_active():
            transport.get_exception()  # nobody may have asked it yet what ended it
        broken_by: Exception | None = getattr(transport, "broken_by", None)
        if broken_by and not transport.is_active() and not self._was_refused:
            raise broken_by
        raise self._failure(still_there=transport.is_active())

    def _step(self, transport: "Transport", wanted: list[str] | None) -> list[str] | None:
        """The methods that are still wanted after a step that was accepted; None when there is no further one."""
        for method, attempt in self._methods():
            if wanted is None or method in wanted:
                accepted = attempt(transport)
                if accepted is not None:
                    self._person.has_taken_a_step = True
                if accepted is not None or self._is_over or not transport.is_active():
                    return accepted
        methods = wanted or []
        if {"keyboard-interactive", "password"} & set(methods) and not self._person.is_there:
            raise LoginUnanswered(
                f"{self._target.label} took {self._tried[-1]} of {self._target.user} as the first step, and asks for more "
                f"({', '.join(methods)}) that only a person can answer."
            )
        return None

    def _methods(self) -> Iterator[tuple[str, Callable[["Transport"], list[str] | None]]]:
        yield "publickey", self._try_keys
        if self._offers.only_held and self._was_refused and not self.accepted_key:
            return  # the line of its key is missing there: to type something would only hide that
        questions = ("keyboard-interactive", self._try_questions)
        if self._password is None:
            yield questions
        yield "password", self._try_password
        if self._password is not None:
            yield questions

    def _try_keys(self, transport: "Transport") -> list[str] | None:
        import paramiko

        while offer := self._next_key():
            if self._keys_tried == MAX_KEYS:
                self._obstacles.append(f"More than {MAX_KEYS} keys are not offered: name the right one.")
                return None
            self._keys_tried += 1
            self._tried.append(offer.label)
            try:
                further = list(transport.auth_publickey(self._target.user, offer.key))
                self.accepted_key = offer.blob
                return further
            except paramiko.BadAuthenticationType as error:
                self._obstacles.append(_NO_KEYS)
                self._taken, self._too_early = error.allowed_types, offer
                return None
            except (paramiko.SSHException, OSError) as error:
                if not transport.is_active():
                    return None
                self._was_refused = True
                if not isinstance(error, paramiko.AuthenticationException):
                    self._obstacles.append(f"{offer.label} could not sign.")
                elif offer.if_refused:
                    self._obstacles.append(offer.if_refused)
        return None

    def _next_key(self) -> Offer | None:
        """One that came before its step, such as before a code, comes once more."""
        if self._too_early:
            self._obstacles.remove(_NO_KEYS)
            offer, self._too_early = self._too_early, None
            return offer
        return next(self._keys, None)

    def _is_wanted(self, path: Path, public: bytes) -> bool:
        """It counts as a try, there too."""
        import paramiko

        from remotejobs import keyquery

        if self._keys_tried == MAX_KEYS or (self._taken is not None and "publickey" not in self._taken):
            return False
        self._keys_tried += 1
        try:
            if keyquery.is_wanted(self._transport, self._target.user, public):
                return True
        except paramiko.BadAuthenticationType as error:
            self._taken = error.allowed_types
            return False
        self._tried.append(str(path))
        self._was_refused |= self._transport.is_active()
        return False

    def _try_password(self, transport: "Transport") -> list[str] | None:
        import paramiko

        if self._password is None and (not self._person.is_there or "password" not in (self._taken or ())):
            return None
        with self._person.time():
            password = self._password
            if password is None:
                password = self._person.ask_secret("password", f"Password of {self._target.user}")
            self._tried.append("the password")
            self._password_sent = True
            try:
                return list(transport.auth_password(self._target.user, password, fallback=False))
            except paramiko.BadAuthenticationType as error:
                self._taken = error.allowed_types
                self._password_sent = False
                if "keyboard-interactive" in error.allowed_types:
                    self._tried.pop()
                else:
                    self._obstacles.append("It takes no passwords.")
            except (paramiko.SSHException, OSError):
                self._refused(transport)
        return None

    def _try_questions(self, transport: "Transport") -> list[str] | None:
        import paramiko

        from remotejobs import keyboard

        if not self._person.is_there and (self._password is None or self._password_sent):
            return None
        if self._taken is not None and "keyboard-interactive" not in self._taken:
            return None
        with self._person.time():
            try:
                return keyboard.conduct(transport, self._target.user, partial(self._answer, transport))
            except paramiko.BadAuthenticationType as error:
                self._taken = error.allowed_types
            except (paramiko.SSHException, OSError):
                self._refused(transport)
        return None

    def _refused(self, transport: "Transport") -> None:
        """What a person gave was not accepted: nothing is tried any more. What else it may mean, the transport tells."""
        self._is_over = True
        self._was_refused |= transport.is_active()

    def _answer(
        self, transport: "Transport", title: str, instructions: str, questions: list[tuple[str, bool]]
    ) -> Sequence[str]:
        """A password that was given answers one hidden question, if that asks for no code; a person the rest."""
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise LoginRefused(f"{self._target.label} asks on and on: after {MAX_ROUNDS} rounds we hung up.")
        if not questions:
            if self._person.is_there and (title.strip() or instructions.strip()):
                self._person.ask_for_server(title, instructions, [])
            return []
        if self._is_for_password(questions):
            self._password_sent = True
            self._tried.append("the password")
            return [self._password or ""]
        answers = self._person.ask_for_server(title, instructions, questions)
        if not transport.is_active():
            raise LoginUnanswered(
                f"{self._target.label} hung up before it got an answer. Try again, and sooner."
            )
        self._tried.append("your answer")
        return answers

    def _is_for_password(self, questions: list[tuple[str, bool]]) -> bool:
        (text, echo), *others = questions
        is_one = not others and not echo and not self._password_sent and "your answer" not in self._tried
        return is_one and self._password is not None and not _CODE.search(text)

    def _failure(self, *, still_there: bool) -> LoginError:
        target = self._target
        tried = (
            ", ".join(dict.fromkeys(self._tried)) or "nothing, for want of a usable key, agent or password"
        )
        hung_up = "" if still_there else "It hung up. "
        advice = f"Once `{target.ssh}` works without a question, this does too."
        if self._offers.only_held:
            advice = ""  # of a key that is in no file, ssh knows nothing
        elif self._person.is_there:
            advice = f"Try again, and look what `{target.ssh}` says."
        sentence = " ".join(
            [
                f"{target.host} did not let us in as {target.user}. {hung_up}Tried: {tried}.",
                *dict.fromkeys(self._obstacles),
                advice,
            ]
        ).rstrip()
        is_locked = self._offers.met_a_locked_one and not self._tried
        return KeyLocked(sentence) if is_locked else LoginRefused(sentence)
