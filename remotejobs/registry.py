"""The folder of job records on a server, `~/.<app>`, as Python sees it: read by exchanges, kept in memory by cursor."""

import time
from collections.abc import Iterable, Iterator

from remotejobs import sentences
from remotejobs.answer import Answer, Cleaned, LogTail, Outcome, Pruned
from remotejobs.cursor import Cursor
from remotejobs.errors import NoSuchJob, ServerProblem
from remotejobs.exchange import Action, Cleaning, Pruning, Request, SourceRequest, exchange
from remotejobs.records import JobKey, JobRecord, JobStatus
from remotejobs.shell import LocalShell, Shell
from remotejobs.states import derive, read_queue


class Registry:
    """Records that were read, and the status of each at the last exchange.

    `answers_for` is how long (seconds) an answer that came with `list_keys` is good for one `check_state` of each key.
    """

    def __init__(self, shell: Shell, app: str, answers_for: float = 30.0) -> None:
        self.shell, self.app, self.answers_for = shell, app, answers_for
        self._records: dict[JobKey, JobRecord] = {}
        self._live: set[JobKey] = set()
        self._cursor: str | None = None
        self._has_sealed = False
        self._status: dict[JobKey, JobStatus] = {}
        self._unasked: set[JobKey] = set()  # whose answer of the last exchange was not handed out yet
        self._asked_at = float("-inf")

    @property
    def is_local(self) -> bool:
        return isinstance(self.shell, LocalShell)

    def list_keys(self) -> list[str]:
        """`["<hash>_<n>", ...]` of the live records, in the order of their keys; what is no valid record is skipped."""
        self.refresh()
        return [str(key) for key in sorted(self._live) if self._records[key].settings]

    def look_up(self, key: JobKey) -> tuple[JobRecord, JobStatus]:
        """The record and its status: from the last exchange, once and while it is young, else from a new one."""
        if key not in self._unasked or time.monotonic() - self._asked_at > self.answers_for:
            self.refresh()
            if key not in self._records:
                self.refresh(sealed=True)
        self._unasked.discard(key)
        if key not in self._records:
            raise NoSuchJob(key)
        return self._records[key], self._status[key]

    def look_up_all(self, keys: Iterable[JobKey]) -> Iterator[tuple[JobRecord, JobStatus]]:
        """The same for many keys in one exchange; those that do not exist are left out."""
        self.refresh(sealed=True)
        for key in keys:
            if key in self._records:
                yield self._records[key], self._status[key]

    def refresh(self, sealed: bool = False) -> None:
        """One exchange: what is new since the last one, and what the queue says. One more where part of a job is not among the
        live records (its facts came after it was sealed, or it is just being sealed), and the sealed ones were not read yet.
        """
        source = SourceRequest(self.app, self._cursor, sealed=sealed or self._has_sealed)
        with_answer = self._ask(Request([source]))
        self._take(with_answer)
        self._has_sealed = source.sealed
        self._asked_at = time.monotonic()
        records = (self._records[key] for key in self._live)
        if not source.sealed and not all(record.settings and record.fact("id") for record in records):
            self.refresh(sealed=True)

    def act(self, action: Action) -> Outcome:
        """Carries out one action. A missing outcome is unknown, never guessed."""
        answer = self._ask(
            Request([SourceRequest(self.app, self._cursor, sealed=self._has_sealed)], [action])
        )
        self._take(answer)
        self._unasked.clear()
        missing = Outcome(action.uuid, "unknown", f"It is not known whether {answer.server} carried it out.")
        return answer.outcomes.get(action.uuid, missing)

    def answer_since(self, names: Cursor) -> Answer:
        """All that speaks of the jobs of which a reader with this cursor lacks anything, and of the open ones. Close it."""
        return self._ask(Request([SourceRequest(self.app, str(names), whole=True)]))

    def highest_n(self, hash_: str) -> int:
        """Of this work. Raises ServerProblem where that cannot be read."""
        answer = self._question("claimed", self.app, hash_)
        if answer.claimed is None:
            raise ServerProblem(sentences.of_trouble("", self.app, answer.server))
        return answer.claimed

    def schedulers(self) -> list[str]:
        """The batch systems that this server has, the best first; "process" where it can run plain processes."""
        return self._question("detect").schedulers

    def text_of(self, folder: str, path: str) -> str | None:
        """A script's content (base64), or None if there is none to keep."""
        return self._question("look", folder, path).text

    def clean(self, key: JobKey) -> bool:
        """Moves the run folder of an ended job to the trash. Its record stays. False: a narrow key is not for that."""
        answer = self._ask(Request([], questions=[("clean", self.app, str(key))]))
        answer.close()
        return not answer.gate

    def log(self, key: JobKey, stream: str, limit: int) -> LogTail:
        """The last `limit` bytes of what the job has printed. Raises NoSuchJob, ServerProblem."""
        answer = self._question("log", self.app, str(key), stream, str(limit))
        if not answer.logs:  # a gate from before there were logs
            raise ServerProblem(sentences.no_logs(answer.server))
        return answer.logs[0]

    def cleaned(self, cleaning: Cleaning) -> Cleaned | None:
        """Seals what is settled, in one exchange. None: it is not known what was done."""
        return self._cleaning(cleaning).cleaned.get(self.app)

    def pruned(self, pruning: Pruning) -> Pruned | None:
        """Deletes old batches, in one exchange. None: it is not known what was done."""
        return self._cleaning(pruning).pruned.get(self.app)

    def _cleaning(self, cleaning: Cleaning | Pruning) -> Answer:
        source = SourceRequest(self.app, self._cursor, sealed=self._has_sealed)
        answer = self._ask(Request([source], cleanings=[cleaning]))
        self._take(answer)
        if answer.gate:
            raise ServerProblem(sentences.narrow(answer.server))
        self._unasked.clear()
        return answer

    def known(self, keys: Iterable[JobKey]) -> Iterator[tuple[JobRecord, JobStatus]]:
        """Those of the keys that were read, without an exchange."""
        return ((self._records[key], self._status[key]) for key in keys if key in self._records)

    def _question(self, *words: str) -> Answer:
        answer = self._ask(Request([], questions=[words]))
        answer.close()
        if answer.gate and words[0] != "log":
            raise ServerProblem(sentences.narrow(answer.server))
        return answer

    def _ask(self, request: Request) -> Answer:
        answer = exchange(self.shell, request)
        for source in answer.sources.values():
            if source.error:
                answer.close()
                raise ServerProblem(source.error)
        return answer

    def _take(self, answer: Answer) -> None:
        source = answer.sources[self.app]
        try:
            for chunk in source.chunks():
                if chunk.name.startswith("bucket "):
                    self._live -= (
                        {key for key in self._live if key.hash[0] == chunk.name[-1]} if chunk.first else set()
                    )
                    self._live |= {record.key for record in chunk.records}
                for record in chunk.records:
                    known = self._records.get(record.key)
                    self._records[record.key] = record if known is None else known.union(record)
                self._cursor = chunk.cursor
        finally:
            answer.close()
        queues = [read_queue(queue) for queue in answer.queues]
        self._status = {
            key: derive(record, queues, answer.clock, self._status.get(key))
            for key, record in self._records.items()
        }
        self._unasked = set(self._records)
