"""A server's answer: spooled, its closing lines checked, then handed out in chunks. Everything in it is hostile."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from remotejobs import sentences
from remotejobs.cursor import Cursor
from remotejobs.errors import AnswerBroken, RemoteJobsError, ServerProblem
from remotejobs.packed import Packed, PackedFile
from remotejobs.records import JobKey, JobRecord, clean, read_fact, read_settings

LINE_LIMIT = 1 << 20  # bytes of one line of ours
CHUNK_RECORDS = 1000  # the most that is handed out, and stored, at once


class ShellOutput(Protocol):
    """What shell.run gives; `status` None: it is not known how the command ended."""

    status: int | None
    stdout: BinaryIO
    stderr: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records that arrived whole, and the cursor to store in the transaction that stores them."""

    name: str
    records: list[JobRecord]
    cursor: str
    first: bool = True  # of its bucket or batch


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one action: `state` is done, refused, unknown (not settled; send the same uuid again) or not_started."""

    uuid: str
    state: str
    sentence: str
    key: JobKey | None = None  # of a submission: what it got
    scheduler_id: str = ""
    code: str = ""


@dataclass(slots=True)
class Queue:
    """What one scheduler on that server said last: its lines, as its .sh printed them."""

    scheduler: str
    cluster: str
    host: str
    at: float  # server's clock
    lines: list[str] = field(default_factory=list)
    complete: bool = False
    accounting: str = "unasked"  # complete, none (this cluster has none), failed, unasked


@dataclass(slots=True)
class SourceAnswer:
    """The records of one app. `error` "" or a sentence: this folder could not be read, and nothing of it counts."""

    app: str
    cursor: Cursor
    error: str = ""
    absent: bool = False  # the server has no such folder (yet)
    total_sum: str = ""
    packed: list[Packed] = field(default_factory=list)
    batches: list[Packed] = field(default_factory=list)
    skipped: int = 0  # names and files that are no valid records
    unreadable: int = 0  # names whose content could not be read whole: asked for again next time

    @property
    def total(self) -> int:
        """How many records chunks() will give."""
        return sum(part.records for part in (*self.packed, *self.batches))

    def chunks(self) -> Iterator[Chunk]:
        """Reads the spooled answer as it goes; each chunk's cursor says what has arrived with it and before it."""
        cursor, self.unreadable = self.cursor, 0
        for part in self.packed:
            first = True
            for bucket, value, records, whole in _records(part, self):
                if value is not None:
                    cursor = cursor.with_bucket(bucket, value if whole else "")
                yield Chunk(f"bucket {bucket}", records, str(cursor), first)
                first = value is not None
        for part in self.batches:
            for _bucket, value, records, _whole in _records(part, self):
                if value is not None:
                    cursor = cursor.with_batch(part.name)
                yield Chunk(part.name, records, str(cursor))
        if self.total_sum and not self.unreadable and cursor.total != self.total_sum:
            yield Chunk("total", [], str(cursor.with_total(self.total_sum)))


@dataclass(slots=True)
class Answer:
    server: str
    clock: float = 0.0  # server's clock when it began
    skew: float = 0.0  # server's clock minus ours, seconds
    host: str = ""
    size: int = 0  # bytes received
    sources: dict[str, SourceAnswer] = field(default_factory=dict)
    queues: list[Queue] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # an action that is missing here is unknown
    schedulers: list[str] = field(default_factory=list)  # of the question "detect"
    claimed: int = 0  # of the question "claimed": the highest n of that work
    text: str | None = None  # of the question "look", base64
    spool: BinaryIO | None = None

    def close(self) -> None:
        if self.spool is not None:
            self.spool.close()


def read_answer(
    output: ShellOutput, cursors: dict[str, Cursor], word: str, sent_at: float, server: str
) -> Answer:
    """The answer, if its last line came: a cut one, or one that is not ours, is AnswerBroken and changes nothing."""
    answer = Answer(server, size=output.size, spool=output.stdout)
    reader = _Reader(answer, cursors, word, sent_at)
    try:
        ended = reader.read()
        if not reader.begun:
            raise AnswerBroken(_no_answer(server, output))
        if not ended:
            raise AnswerBroken(f"The answer of {server} was cut. Nothing in it was used; try again.")
    except (ValueError, EOFError) as error:
        answer.close()
        raise AnswerBroken(
            f"The answer of {server} cannot be read: {error}. Nothing in it was used."
        ) from error
    except RemoteJobsError:
        answer.close()
        raise
    return answer


def _no_answer(server: str, output: ShellOutput) -> str:
    said = clean(output.stderr[-300:].decode("utf-8", "replace")).strip().splitlines()
    how = f" It said: {said[-1]}" if said else ""
    if output.status is None:
        return f"The connection to {server} broke before it answered.{how}"
    return f"{server} did not run our program (exit status {output.status}). Does its login shell start /bin/sh?{how}"


class _Reader:
    """Reads line by line; what is packed is only measured here, and read again when it is handed out."""

    def __init__(self, answer: Answer, cursors: dict[str, Cursor], word: str, sent_at: float) -> None:
        self.answer, self.cursors, self.sent_at = answer, cursors, sent_at
        assert answer.spool is not None  # noqa: S101 (for the type checker)
        self.file = answer.spool
        self.word, self.mark = word, word.encode() + b" "
        self.begun = False
        self.app = ""
        self.queue: Queue | None = None

    def read(self) -> bool:
        while line := self.file.readline(LINE_LIMIT):
            if line.startswith(self.mark) and line.endswith(b"\n"):
                words = line[len(self.mark) : -1].decode("utf-8", "replace").split(" ")
                if words[0] == "bye":
                    return True
                self._line(words)
            elif self.queue is not None and line.startswith(b"|"):
                self._queue_line(clean(line[1:].rstrip(b"\n").decode("utf-8", "replace")))
        return False

    def _line(self, words: list[str]) -> None:
        verb, rest = words[0], words[1:]
        handler = getattr(self, f"_on_{verb}", None)
        if verb == "hello" or (self.begun and handler):
            getattr(self, f"_on_{verb}")(*rest)

    def _on_hello(self, _probe: str, clock: str, host: str, _system: str) -> None:
        self.begun = True
        self.answer.clock, self.answer.host = float(int(clock)), clean(host)
        self.answer.skew = self.answer.clock - self.sent_at

    def _on_source(self, app: str) -> None:
        self.app = app
        if app not in self.cursors:
            raise ValueError("it speaks of an app that was not asked for")
        if app in self.answer.sources:
            # After an action, its records once more, as far as they have changed.
            self.answer.sources[app].absent = False
            return
        # An error until the closing line says otherwise: a part without it counts as unknown.
        self.answer.sources[app] = SourceAnswer(
            app, self.cursors[app], error=sentences.of_trouble("", app, self.answer.server)
        )

    def _source(self) -> SourceAnswer:
        if self.app not in self.answer.sources:
            raise ValueError("records of no app")
        return self.answer.sources[self.app]

    def _on_trouble(self, code: str = "", *_more: str) -> None:
        if not self.answer.sources:
            raise ServerProblem(sentences.of_trouble(code, self.app, self.answer.server))
        self._source().error = sentences.of_trouble(code, self.app, self.answer.server)

    def _on_absent(self) -> None:
        self._source().absent = True

    def _on_skipped(self, count: str) -> None:
        self._source().skipped += int(count)

    def _on_total(self, value: str) -> None:
        self._source().total_sum = value if re.fullmatch(r"[0-9]+-[0-9]+", value, re.ASCII) else ""

    def _on_packed(self) -> None:
        self._source().packed.append(PackedFile.base64(self.file, self.mark))

    def _on_sealed(self, name: str, size: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}", name, re.ASCII):
            raise ValueError("a sealed batch has a strange name")
        self._source().batches.append(PackedFile.raw(self.file, name, int(size)))

    def _on_closed(self, part: str, *rest: str) -> None:
        if part == "source" and rest == (self.app, "0"):
            self._source().error = ""
        elif part == "queue" and self.queue is not None and len(rest) == 2:
            self.queue.complete = rest[1] == "0"
            self._keep_queue(self.queue)
            self.queue = None

    def _on_queue(self, scheduler: str, cluster: str, host: str, at: str) -> None:
        self.queue = Queue(clean(scheduler), clean(cluster), clean(host), float(int(at)))

    def _queue_line(self, line: str) -> None:
        assert self.queue is not None  # noqa: S101 (for the type checker)
        if line.startswith("accounting "):
            self.queue.accounting = line.removeprefix("accounting ")
        elif line.split("|", 2)[1:2] == [self.word]:
            # Only rows that carry this request's word: a job's name with a newline in it could forge one.
            self.queue.lines.append(line)

    def _keep_queue(self, queue: Queue) -> None:
        """The later answer of a scheduler replaces the earlier one, unless it is the only complete one."""
        earlier = [known for known in self.answer.queues if known.scheduler == queue.scheduler]
        if earlier and earlier[0].complete and not queue.complete:
            return
        self.answer.queues = [known for known in self.answer.queues if known not in earlier] + [queue]

    def _on_outcome(self, uuid: str, state: str, key: str, scheduler_id: str, code: str, *text: str) -> None:
        known = JobKey.parse(key) if key != "-" else None
        said = clean(" ".join(text)).strip()[:500]
        sentence = sentences.of_outcome(code, self.answer.server, self.app, key, said)
        self.answer.outcomes[uuid] = Outcome(
            uuid, state, sentence, known, "" if scheduler_id == "-" else clean(scheduler_id), code
        )

    def _on_here(self, scheduler: str) -> None:
        self.answer.schedulers.append(clean(scheduler))

    def _on_claimed(self, top: str) -> None:
        self.answer.claimed = int(top)

    def _on_text(self, text: str = "") -> None:
        self.answer.text = text


def _records(part: Packed, source: SourceAnswer) -> Iterator[tuple[str, str | None, list[JobRecord], bool]]:
    """(bucket, its checksum once it is complete, records, whole): records gathered by key, the files of one stand together."""
    bucket, value, whole = "", "", True
    records: dict[JobKey, JobRecord] = {}
    for kind, name, text in part.files():
        if kind == "bucket":
            if bucket or records:
                yield bucket, value, list(records.values()), whole
            (bucket, value), records, whole = name.split(" ", 1), {}, True
            continue
        key = _key_of(name)
        if len(records) >= CHUNK_RECORDS and key not in records:
            yield bucket, None, list(records.values()), whole
            records = {}
        if key is None or kind == "unreadable" or not _add(records, key, name, text):
            whole = False
            source.unreadable += 1
    yield bucket, value, list(records.values()), whole


def _key_of(name: str) -> JobKey | None:
    try:
        return JobKey.parse(name.partition(".")[0])
    except RemoteJobsError:
        return None


def _add(records: dict[JobKey, JobRecord], key: JobKey, name: str, text: str) -> bool:
    """False: the content did not come whole."""
    record = records.setdefault(key, JobRecord(key))
    if name.endswith(".json"):
        settings = read_settings(text)
        record.settings = settings or record.settings
        return settings is not None
    fact = read_fact(text)
    if fact is None:
        return False
    record.facts[name.partition(".")[2]] = fact
    return True
