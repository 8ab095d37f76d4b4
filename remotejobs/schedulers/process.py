"""Plain background processes of one machine: no queue, no limits, no options. See process.sh."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from remotejobs.errors import BadInput
from remotejobs.records import Evidence, JobKey, JobState
from remotejobs.schedulers.base import Row, Scheduler, whole

_ALIVE = {
    "running": (JobState.RUNNING, ""),
    "stopped": (JobState.SUSPENDED, "stopped"),
    "orphaned": (JobState.RUNNING, ""),
}
_GONE = ("rebooted", "vanished")


class Process(Scheduler):
    """Its "cluster" is the host: a pid of one machine says nothing on the next one that shares the home."""

    name: ClassVar[str] = "process"
    requeues: ClassVar[bool] = False

    def read_queue(self, lines: Sequence[str]) -> dict[str, list[Row]]:
        rows = (_row(line.split("|")) for line in lines)
        return {row.id: [row] for row in rows if row is not None}

    def read_ending(self, line: str) -> Row | None:
        """There is no accounting of processes: what ended is told by the exit file."""
        return None

    def header(self, options: Mapping[str, Any], job_name: str) -> list[str]:
        if options:
            name = sorted(options)[0]
            raise BadInput(f"A plain process cannot have {name}: only a batch system can hold it to that.")
        return []

    def directives(self, script: str) -> list[str]:
        return []

    def row_key(self, key: JobKey, identity: Mapping[str, str]) -> str:
        return str(key)

    def is_same(self, identity: Mapping[str, str], row: Row) -> bool:
        """The server compared pid, start time and boot id; a key is never used twice."""
        return True


def _row(fields: Sequence[str]) -> Row | None:
    """q|WORD|KEY|alive|running, stopped or orphaned|SUBMITTED, or q|WORD|KEY|gone|rebooted or vanished|SUBMITTED."""
    if len(fields) != 6 or fields[0] != "q":
        return None
    _kind, _word, key, fate, how, submitted = fields
    if fate == "alive" and how in _ALIVE:
        state, reason = _ALIVE[how]
        return Row(key, state, Evidence.QUEUE, whole(submitted), reason=reason, raw=how, listed=True)
    if fate == "gone" and how in _GONE:
        return Row(key, JobState.LOST, Evidence.QUEUE, whole(submitted), reason=how, raw=how, absent=True)
    return None
