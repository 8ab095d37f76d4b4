"""One request out, one answer in: what a sync asks of a server, and what it is told.

The other end is the probe, a fixed program (program.py): sent along each time, or installed as the gate of a narrow key,
which then runs in its place. All that varies is data on standard input.
"""

import base64
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from remotejobs.answer import Answer
from remotejobs.cursor import NOTHING_LIVE, Cursor
from remotejobs.errors import BadInput
from remotejobs.program import PROTOCOL, command
from remotejobs.reader import read_answer
from remotejobs.records import JobKey
from remotejobs.shell import Shell

DAY = 86400.0  # seconds
ANSWER_LIMIT = 1 << 30  # bytes; more than a hundred times what 100,000 records take


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """An app whose records are asked for, from a cursor on (None: everything). `sealed` False leaves the sealed ones out.

    `whole`, for a reader that keeps no facts: of a job that has anything new, or that is still open, all comes.
    """

    app: str
    cursor: str | None = None
    sealed: bool = True
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """`sent`: an earlier exchange told the scheduler already; if the job is no more, that was it."""

    uuid: str
    app: str
    key: JobKey
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """A new job. `document` is the JSON text of its settings (settings.py), without a jobid; `asked_at` in epoch seconds."""

    uuid: str
    app: str
    hash: str
    scheduler: str
    document: str
    asked_at: float


@dataclass(frozen=True, slots=True)
class Resubmission:
    """The kept script of `key` once more, as the next n of the same hash; `changes` (settings.changes) in what it may use."""

    uuid: str
    app: str
    key: JobKey
    asked_at: float
    changes: tuple[str, ...] = ()


Action = Cancel | Submission | Resubmission


@dataclass(frozen=True, slots=True)
class Cleaning:
    """At most `limit` records of `app` that were settled for `settled` seconds (a day at least) go into a batch, and the run
    folders of sealed jobs to the trash; what lies there for `trash` seconds is removed (None: nothing is). A dry run only
    counts.
    """

    app: str
    limit: int = 1000
    settled: float = DAY
    trash: float | None = 7 * DAY
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Pruning:
    """The sealed records of `app` that are all older than `age` seconds are deleted."""

    app: str
    age: float
    dry_run: bool = False


@dataclass(slots=True)
class Request:
    sources: list[SourceRequest]
    actions: list[Action] = field(default_factory=list)
    budget: float = 60.0  # seconds that the server may take; what was not begun by then answers `not_started`
    timeout: float | None = None  # seconds until we hang up; without it, half a minute after the budget
    # Questions outside a sync: ("detect",), ("claimed", app, hash), ("look", folder, file), ("clean", app, key),
    # ("log", app, key, "stdout" or "stderr", most bytes)
    questions: list[tuple[str, ...]] = field(default_factory=list)
    cleanings: list[Cleaning | Pruning] = field(default_factory=list)
    skew: float = 0.0  # server's clock minus ours, seconds, as last told: where nothing lives, nobody looks


def exchange(shell: Shell, request: Request, progress: Callable[[int], None] | None = None) -> Answer:
    """One command on the server, one answer.

    `progress` is called with the number of bytes received so far. Raises LoginError, Unreachable, TimedOut, ServerProblem
    or AnswerBroken; in each case nothing in the answer counts, while what was asked may have been carried out.
    """
    word = secrets.token_hex(8)
    sent_at = time.time()
    output = shell.run(
        command(**_needs(request)),
        encode(request, word),
        timeout=request.timeout or request.budget + 30.0,
        progress=progress,
        limit=ANSWER_LIMIT,
    )
    actions = {action.uuid: action.app for action in request.actions}
    answer = read_answer(output, request_cursors(request), actions, word, sent_at, str(shell))
    if answer.skew is None:
        answer.clock = sent_at + request.skew
    return answer


def _needs(request: Request) -> dict[str, bool]:
    return {
        "acts": bool(request.actions),
        "asks": bool(request.questions),
        "whole": any(source.whole for source in request.sources),
        "cleans": bool(request.cleanings),
        "quiet": all(cursor.total == NOTHING_LIVE for cursor in request_cursors(request).values()),
    }


def request_cursors(request: Request) -> dict[str, Cursor]:
    return {source.app: Cursor.parse(source.cursor) for source in request.sources}


def encode(request: Request, word: str) -> bytes:
    """The request as the probe reads it: a line each, fields parted by tabs, `end` last."""
    lines: list[tuple[str, ...]] = [("remotejobs", PROTOCOL, word, str(int(request.budget)))]
    for source in request.sources:
        total, buckets, sealed = Cursor.parse(source.cursor).fields()
        wish = ("whole",) if source.whole else ()
        lines.append(("source", source.app, total, buckets, sealed if source.sealed else "*", *wish))
    lines += [_action_line(action) for action in request.actions]
    lines += [
        (verb, *(_b64(value) for value in values)) if verb == "look" else (verb, *values, "-")
        for verb, *values in request.questions
    ]
    lines += [_cleaning_line(cleaning) for cleaning in request.cleanings]
    lines.append(("end",))
    for line in lines:
        for value in line:
            if not value or set(value) & set("\t\n\r\0"):
                raise BadInput(
                    f"{value!r} cannot be sent to a server: it is empty, or has a tab or a line break."
                )
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def _action_line(action: Action) -> tuple[str, ...]:
    match action:
        case Cancel(uuid, app, key, sent):
            return ("cancel", uuid, app, str(key), "sent" if sent else "-")
        case Submission(uuid, app, hash_, scheduler, document, asked_at):
            return ("submit", uuid, app, hash_, scheduler, str(int(asked_at)), _b64(document))
        case Resubmission(uuid, app, key, asked_at, changes):
            return ("resubmit", uuid, app, str(key), str(int(asked_at)), *changes)


def _cleaning_line(cleaning: Cleaning | Pruning) -> tuple[str, ...]:
    mode = "look" if cleaning.dry_run else "do"
    match cleaning:
        case Cleaning(app, limit, settled, trash):
            return (
                "seal",
                app,
                str(limit),
                str(int(settled)),
                "-" if trash is None else str(int(trash)),
                mode,
            )
        case Pruning(app, age):
            return ("prune", app, "0", str(int(age)), "-", mode)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode() or "-"
