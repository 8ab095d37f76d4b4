"""Reads a server's answer line by line, and checks all of it before any of it is used. Everything in it is hostile."""

import binascii
import inspect
import re
from collections.abc import Mapping
from functools import cache
from typing import BinaryIO, Protocol

from remotejobs import sentences
from remotejobs.answer import Answer, Cleaned, LogTail, Outcome, Pruned, Queue, SourceAnswer
from remotejobs.cursor import BUCKETS, Cursor, is_batch, is_sum
from remotejobs.errors import AnswerBroken, ServerProblem
from remotejobs.packed import Damaged, PackedFile, Room
from remotejobs.program import PROTOCOL
from remotejobs.records import JobKey, clean

LINE_LIMIT = 1 << 20  # bytes of one line of ours
QUEUE_LIMIT = 64 << 20  # bytes of all rows of all queues: some 200,000 of them
BATCH_LIMIT = 100_000
DRY_LIMIT = 10_000  # keys that a dry run names
STREAMS = ("stdout", "stderr")
LOG_LIMIT = 64 << 10  # bytes of the end of a log
MOST_LOGS = 64  # ends of logs in one answer: more than anybody asks for
_STATES = ("done", "refused", "unknown", "not_started")
_ACCOUNTING = ("complete", "none", "failed", "unasked")
_WHOLE = re.compile(r"[0-9]{1,11}\Z", re.ASCII)


class ShellOutput(Protocol):
    """What shell.run gives; `status` None: it is not known how the command ended."""

    status: int | None
    stdout: BinaryIO
    stderr: bytes
    size: int


def read_answer(
    output: ShellOutput,
    cursors: Mapping[str, Cursor],
    actions: Mapping[str, str],
    word: str,
    sent_at: float,
    server: str,
) -> Answer:
    """The answer, if its last line came: a cut one, or one that is not ours, is AnswerBroken and changes nothing.

    `cursors` are those of the apps that were asked for, `actions` the apps of the uuids: nothing else may be answered.
    """
    answer = Answer(server, size=output.size, spool=output.stdout)
    reader = _Reader(answer, output.stdout, cursors, actions, word, sent_at)
    try:
        ended = reader.read()
        if not reader.begun:
            raise AnswerBroken(_no_answer(server, output))
        if not ended:
            raise AnswerBroken(f"The answer of {server} was cut. Nothing in it was used; try again.")
    except (AnswerBroken, ServerProblem):
        answer.close()
        raise
    except (ValueError, EOFError) as error:
        answer.close()
        raise AnswerBroken(
            f"The answer of {server} cannot be read: {error}. Nothing in it was used."
        ) from error
    for app in set(cursors) - set(answer.sources):
        answer.sources[app] = SourceAnswer(app, cursors[app], error=sentences.of_trouble("", app, server))
    return answer


def _no_answer(server: str, output: ShellOutput) -> str:
    said = clean(output.stderr[-300:].decode("utf-8", "replace")).strip().splitlines()
    how = f" It said: {said[-1]}" if said else ""
    if output.status is None:
        return f"The connection to {server} broke before it answered.{how}"
    if output.status == 65:
        return (
            f"{server} did not get the whole request. A command in its login files (.bashrc, .cshrc, ...) may "
            f"read standard input: it should do so only in a terminal.{how}"
        )
    return (
        f"{server} did not run our program (exit status {output.status}). Does its login shell start /bin/sh, and "
        f"do its login files (.bashrc, .cshrc, ...) not call exit?{how}"
    )


def _whole(text: str) -> int:
    if not _WHOLE.match(text):
        raise ValueError("a number in it is none")
    return int(text)


_form = cache(inspect.signature)


class _Reader:
    """One method for each word that a line of ours may begin with.

    What is packed is only measured here, and read again when it is handed out.
    """

    def __init__(
        self,
        answer: Answer,
        file: BinaryIO,
        cursors: Mapping[str, Cursor],
        actions: Mapping[str, str],
        word: str,
        sent_at: float,
    ) -> None:
        self.answer, self.file, self.cursors, self.actions = answer, file, cursors, actions
        self.sent_at, self.word, self.mark = sent_at, word, word.encode() + b" "
        self.begun = False
        self.app = ""
        self.queue: Queue | None = None
        self.queue_room = QUEUE_LIMIT
        self.room = Room()
        self.cleaned: dict[str, Cleaned] = {}  # whose closing line has not come

    def read(self) -> bool:
        while line := self.file.readline(LINE_LIMIT):
            if line.startswith(self.mark) and line.endswith(b"\n"):
                words = line[len(self.mark) : -1].decode("utf-8", "replace").split(" ")
                if words[0] == "bye" and self.begun:
                    return True
                self._line(words)
            elif self.queue is not None and line.startswith(b"|"):
                self._queue_line(self.queue, line)
        return False

    def _line(self, words: list[str]) -> None:
        handler = getattr(self, f"_on_{words[0]}", None)
        if handler is None or not (self.begun or words[0] == "hello"):
            return
        try:
            _form(handler.__func__).bind(self, *words[1:])
        except TypeError:
            raise ValueError(f"its line {words[0]!r} has another form") from None
        handler(*words[1:])

    def _on_hello(
        self, protocol: str, clock: str, host: str, _system: str, kind: str = "", gate: str = ""
    ) -> None:
        self.begun = True
        if kind == "narrow":
            self.answer.gate = clean(gate)[:80] or "unknown"
        # What is sent along speaks as we do; what was installed some day may not.
        if protocol != PROTOCOL:
            raise ServerProblem(sentences.of_protocol(protocol, self.answer.server))
        self.answer.host = clean(host)[:255]
        if clock != "-":  # a gate of an older version begins with it
            self._on_clock(clock)

    def _on_clock(self, clock: str) -> None:
        self.answer.clock = float(_whole(clock))
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

    def _on_same(self) -> None:
        source = self._source()
        if not source.packed:
            source.skipped = source.cursor.skipped

    def _on_skipped(self, count: str) -> None:
        self._source().skipped = _whole(count)

    def _on_total(self, value: str) -> None:
        if not is_sum(value):
            raise ValueError("a checksum in it is none")
        self._source().total_sum = value

    def _on_buckets(self, buckets: str) -> None:
        self._source().buckets = "".join(bucket for bucket in buckets if bucket in BUCKETS)

    def _on_packed(self) -> None:
        source = self._source()
        if len(source.packed) == 2:
            raise ValueError("it has the records of an app too often")
        source.packed.append(PackedFile.base64(self.file, self.mark, self.room))

    def _on_beside(self) -> None:
        source = self._source()
        if source.beside:
            raise ValueError("it has what lies beside the records of an app too often")
        source.beside.append(PackedFile.base64(self.file, self.mark, self.room))

    def _on_sealed(self, name: str, size: str) -> None:
        source = self._source()
        if not is_batch(name) or len(source.batches) >= BATCH_LIMIT:
            raise ValueError("a sealed batch has a strange name")
        try:
            source.batches.append(PackedFile.raw(self.file, name, _whole(size), self.room))
        except Damaged:
            # It lies so on the server's disk: the others are read, and this one is asked for again.
            source.damaged += 1

    def _on_unreadable(self, _name: str) -> None:
        self._source().damaged += 1

    def _on_closed(self, part: str, *rest: str) -> None:
        if part == "source" and rest == (self.app, "0"):
            self._source().error = ""
        elif part == "queue" and self.queue is not None and rest[:1] == (self.queue.scheduler,):
            self.queue.complete = rest[1:] == ("0",)
            self._keep_queue(self.queue)
            self.queue = None

    def _on_queue(self, scheduler: str, cluster: str, host: str, at: str) -> None:
        self.queue = Queue(clean(scheduler), clean(cluster), clean(host), float(_whole(at)))

    def _queue_line(self, queue: Queue, raw: bytes) -> None:
        self.queue_room -= len(raw)
        if self.queue_room < 0:
            raise ValueError("its queue is longer than any true one")
        line = clean(raw[1:].rstrip(b"\n").decode("utf-8", "replace"))
        if line.startswith("accounting "):
            said = line.removeprefix("accounting ")
            queue.accounting = said if said in _ACCOUNTING else "failed"
        elif line.split("|", 2)[1:2] == [self.word]:
            # Only rows that carry this request's word: a job's name with a newline in it could forge one.
            queue.lines.append(line)

    def _keep_queue(self, queue: Queue) -> None:
        """The later answer of a scheduler replaces the earlier one, unless it is the only complete one."""
        earlier = [known for known in self.answer.queues if known.scheduler == queue.scheduler]
        if earlier and earlier[0].complete and not queue.complete:
            return
        self.answer.queues = [known for known in self.answer.queues if known not in earlier] + [queue]

    def _on_outcome(
        self, uuid: str, state: str, key: str, scheduler_id: str, code: str = "", *text: str
    ) -> None:
        if uuid not in self.actions:
            raise ValueError("it speaks of an action that was not asked for")
        known = JobKey.parse(key) if key != "-" else None
        said = clean(" ".join(text)).strip()[:500]
        sentence = sentences.of_outcome(code, self.answer.server, self.actions[uuid], key, said)
        self.answer.outcomes[uuid] = Outcome(
            uuid,
            state if state in _STATES else "unknown",
            sentence,
            known,
            "" if scheduler_id == "-" else clean(scheduler_id)[:200],
            code[:40],
        )

    def _on_here(self, scheduler: str) -> None:
        self.answer.schedulers = [*self.answer.schedulers, clean(scheduler)][:100]

    def _on_claimed(self, top: str) -> None:
        self.answer.claimed = _whole(top)

    def _on_would(self, app: str, key: str) -> None:
        keys = self._cleaned(app).keys
        if len(keys) < DRY_LIMIT:
            keys.append(JobKey.parse(key))

    def _on_cleaned(self, app: str, records: str, folders: str, emptied: str, more: str) -> None:
        known = self._cleaned(app)
        known.records, known.folders, known.emptied = _whole(records), _whole(folders), _whole(emptied)
        known.more, self.answer.cleaned[app] = more != "0", known

    def _on_pruned(self, app: str, records: str, batches: str, _none: str, more: str) -> None:
        if app not in self.cursors:
            raise ValueError("it speaks of an app that was not asked for")
        self.answer.pruned[app] = Pruned(_whole(records), _whole(batches), more != "0")

    def _cleaned(self, app: str) -> Cleaned:
        if app not in self.cursors:
            raise ValueError("it speaks of an app that was not asked for")
        return self.cleaned.setdefault(app, Cleaned())

    def _on_text(self, text: str = "") -> None:
        binascii.a2b_base64(text, strict_mode=True)
        self.answer.text = text

    def _on_log(self, key: str, stream: str, size: str, text: str) -> None:
        content = b"" if text == "-" else binascii.a2b_base64(text, strict_mode=True)
        if stream not in STREAMS or len(content) > LOG_LIMIT:
            raise ValueError("it has another log than was asked for")
        self._has(LogTail(JobKey.parse(key), stream, content, max(_whole(size), len(content))))

    def _on_nolog(self, key: str, stream: str, code: str) -> None:
        said = sentences.of_log(code, self.answer.server, str(JobKey.parse(key)), clean(stream)[:10])
        self._has(LogTail(JobKey.parse(key), stream, error=said))

    def _has(self, log: LogTail) -> None:
        if len(self.answer.logs) == MOST_LOGS:
            raise ValueError("it has more logs than anybody asks for")
        self.answer.logs.append(log)
