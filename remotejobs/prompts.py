"""What a server or a locked key asks a person for, and the person's answers: they live for one login."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

MAX_QUESTIONS = 16  # of one round; sshd sends one or two
MAX_ROUNDS = 12  # of one login
MAX_ANSWER = 4096  # characters
# sshd hangs up on whoever is not in after 120 s (LoginGraceTime), the person's time included.
ANSWER_WITHIN = 110.0
Kind = Literal["code", "password", "passphrase"]


@dataclass(frozen=True, slots=True)
class Question:
    """`text` is cleaned, and may have several lines (a menu to choose from); `echo`: the answer may be shown as it is typed."""

    text: str
    echo: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """One round of questions. All words of the server in it are cleaned and bounded; they are still its own.

    `kind`: "code" (keyboard-interactive: the server's own questions), "password", or "passphrase" (of a key file here:
    the server gets neither question nor answer). Without questions it is only something to show ("approve this on your
    phone"): the answer is then (), at once, and the waiting is the server's. `server` and `user` are ours: the hop that
    asks, which may be a jump. `seconds` are left to answer in. `is_further`: the server has taken a first step already
    (a key, most often).
    """

    kind: Kind
    server: str
    user: str
    questions: tuple[Question, ...]
    seconds: float
    title: str = ""
    instructions: str = ""
    is_further: bool = False


# Called in the thread that asked for the connection; gives an answer per question, or None for "given up".
# It must return within `prompt.seconds`: at their end the connection is closed, and what it gives later is not used.
Prompter = Callable[[Prompt], Sequence[str] | None]
