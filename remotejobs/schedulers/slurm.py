"""Slurm: its words as our states, its lines as rows, a person's options as `#SBATCH` lines. Runs nothing; see slurm.sh."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from remotejobs.records import Evidence, JobState
from remotejobs.schedulers import sbatch
from remotejobs.schedulers.base import Row, Scheduler, whole

# Every state and flag of squeue(1) and sacct(1), 18.08 to 25.05. What is missing is UNKNOWN, shown in Slurm's word.
STATES: dict[str, tuple[JobState, str]] = {
    "PENDING": (JobState.QUEUED, ""),
    "CONFIGURING": (JobState.QUEUED, "booting"),
    "POWER_UP_NODE": (JobState.QUEUED, "booting"),
    "REQUEUED": (JobState.QUEUED, "requeued"),
    "REQUEUE_FED": (JobState.QUEUED, "requeued"),
    "EXPEDITING": (JobState.QUEUED, "requeued"),
    "LAUNCH_FAILED": (JobState.QUEUED, "launch"),
    "REQUEUE_HOLD": (JobState.HELD, "requeued"),
    "RESV_DEL_HOLD": (JobState.HELD, "reservation"),
    "SPECIAL_EXIT": (JobState.HELD, "special_exit"),
    "RUNNING": (JobState.RUNNING, ""),
    "SIGNALING": (JobState.RUNNING, ""),
    "RESIZING": (JobState.RUNNING, ""),
    "SUSPENDED": (JobState.SUSPENDED, ""),
    "STOPPED": (JobState.SUSPENDED, "stopped"),  # by SIGSTOP: it keeps its cores
    "COMPLETING": (JobState.FINISHING, ""),
    "STAGE_OUT": (JobState.FINISHING, ""),
    "UPDATE_DB": (JobState.FINISHING, ""),
    "COMPLETED": (JobState.DONE, ""),
    "FAILED": (JobState.FAILED, "exit_code"),
    "TIMEOUT": (JobState.FAILED, "time_limit"),
    "OUT_OF_MEMORY": (JobState.FAILED, "memory"),
    "DEADLINE": (JobState.FAILED, "deadline"),
    "NODE_FAIL": (JobState.FAILED, "node"),
    "BOOT_FAIL": (JobState.FAILED, "boot"),
    "RECONFIG_FAIL": (JobState.FAILED, "boot"),
    "PREEMPTED": (JobState.FAILED, "preempted"),
    "CANCELLED": (JobState.CANCELLED, ""),
    "REVOKED": (JobState.CANCELLED, "sibling"),  # its twin in a federation started elsewhere
}
# After these Slurm may start the job again under the same id.
MAY_RETURN = frozenset({"PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "RECONFIG_FAIL"})

# Why a job waits, as far as our own words say it; else the reason is Slurm's.
WAITS = {
    "None": "",
    "JobHeldUser": "held_by_user",
    "JobHeldAdmin": "held_by_admin",
    "Priority": "priority",
    "Resources": "resources",
    "Dependency": "dependency",
    "DependencyNeverSatisfied": "dependency_never",
    "BeginTime": "begin_time",
    "Licenses": "license",
    "Reservation": "reservation",
    "JobArrayTaskLimit": "limit",
    "PartitionDown": "partition",
    "PartitionInactive": "partition",
    "PartitionTimeLimit": "partition",
    "PartitionNodeLimit": "partition",
    "NodeDown": "node",
    "ReqNodeNotAvail": "node",
}
_WAITS_BY_START = {
    "QOS": "qos",
    "Assoc": "account",
    "MaxJobsPerAccount": "account",
    "ReqNodeNotAvail": "node",
}

_FIELDS = 13
_STATE = re.compile(r"[A-Z][A-Z0-9_]{1,39}\+?\Z")
_LIMIT = re.compile(r"(?:([0-9]{1,6})-)?(?:([0-9]{1,6}):)?([0-9]{1,6}):([0-9]{1,2})\Z")
_NOTHING = ("", "None", "N/A", "(null)", "None assigned", "Unknown", "NONE")
_NAMES_FILES = re.compile(r"#SBATCH +(-[oei]|--output|--error|--input)")


class Slurm(Scheduler):
    name = "slurm"
    states: ClassVar[dict[str, tuple[JobState, str]]] = STATES
    header_first = ("#SBATCH --output=stdout", "#SBATCH --error=stderr")

    def read_queue(self, lines: Sequence[str]) -> dict[str, list[Row]]:
        rows: dict[str, list[Row]] = {}
        for line in lines:
            kind, _, rest = line.partition("|")
            fields = rest.split("|")[1:]  # without the request's random word
            row = _absent(fields) if kind == "n" else _row(kind, fields)
            if row is not None:
                rows.setdefault(row.id, []).append(row)
        return rows

    def read_ending(self, line: str) -> Row | None:
        kind, *fields = line.split("|")
        row = _row(kind, fields)
        # A requeued attempt has ended too, but says nothing of how the job did.
        return row if row and row.state.is_final else None

    def head(self, options: Mapping[str, Any], job_name: str, script: str) -> list[str]:
        """Slurm fills in %x from the name at submission, which ends in our token; a later change of name does not reach it."""
        plain = re.sub(r"[^A-Za-z0-9._+-]", "_", job_name)
        return [
            re.sub(r"%x", lambda _: plain, line) if _NAMES_FILES.match(line) else line
            for line in super().head(options, job_name, script)
        ]

    def environment(self, job_name: str) -> dict[str, str]:
        return {"SLURM_JOB_NAME": job_name}

    def header(self, options: Mapping[str, Any], job_name: str) -> list[str]:
        return sbatch.header(options, job_name)

    def directives(self, script: str) -> list[str]:
        return sbatch.directives(script)


def _absent(fields: Sequence[str]) -> Row | None:
    if len(fields) != 2 or whole(fields[0]) is None or whole(fields[1]) is None:
        return None
    return Row(fields[0], JobState.UNKNOWN, Evidence.QUEUE, submitted=whole(fields[1]), absent=True)


def _row(kind: str, fields: Sequence[str]) -> Row | None:
    """ID ATTEMPT SUBMIT STATE EXIT START END LIMIT PARTITION NODES REASON [FIRST]; `kind` is q (queue) or a (accounting)."""
    if kind not in ("q", "a") or len(fields) not in (_FIELDS - 2, _FIELDS - 1):
        return None
    job_id, number, submit, words, status, start, end, limit, partition, nodes, reason, *first = fields
    attempt, submitted, word = whole(number, 99999), whole(submit), words.split(" ")[0]
    if whole(job_id) is None or not attempt or submitted is None or not _STATE.match(word):
        return None
    state, why = STATES.get(word, (JobState.UNKNOWN, ""))
    why = _reason(kind, state, why, words, reason)
    if kind == "q" and state is JobState.QUEUED and _is_held(reason):
        state = JobState.HELD
    code, why = _exit(word, status, why)
    started = whole(start)
    waits = state in (JobState.QUEUED, JobState.HELD)
    # What was cancelled while it waited has the time of that as its start, and no node.
    never_ran = waits or (state is JobState.CANCELLED and nodes in _NOTHING)
    return Row(
        id=job_id,
        state=state,
        evidence=Evidence.QUEUE if kind == "q" else Evidence.ACCOUNTING,
        submitted=submitted,
        first=whole(first[0]) if first else None,
        attempt=attempt,
        reason=why,
        raw=words if kind == "a" or reason in _NOTHING else f"{words} {reason}",
        exit_code=code,
        started=None if never_ran else started,
        ended=whole(end) if state.is_final else None,
        nodes="" if nodes in _NOTHING else nodes,
        partition="" if partition in _NOTHING else partition,
        limit=_seconds(limit),
        expected_start=started if waits and kind == "q" else None,
        listed=kind == "q" and not state.is_final,
        may_return=word in MAY_RETURN,
    )


def _is_held(reason: str) -> bool:
    """JobHeldUser, JobHeldAdmin, "job requeued in held state", "launch failed requeued held", JobHoldMaxRequeue, ..."""
    return "held" in reason.lower() or "hold" in reason.lower()


def _reason(kind: str, state: JobState, why: str, words: str, reason: str) -> str:
    if state is JobState.CANCELLED and kind == "a" and not why:
        if reason == "mine":
            return "by_user"
        return "by_admin" if " by " in words else ""
    if kind != "q" or state is not JobState.QUEUED:
        return why
    if reason in WAITS:
        return WAITS[reason] or why
    by_start = (own for start, own in _WAITS_BY_START.items() if reason.startswith(start))
    held = "requeued" if _is_held(reason) and "requeue" in reason.lower() else None
    return next(by_start, held or ("" if reason in _NOTHING else reason))


def _exit(word: str, status: str, why: str) -> tuple[int | None, str]:
    """The exit code as a shell counts it (128 + signal), and the reason. sacct prints CODE:SIGNAL, squeue the wait status.

    What Slurm itself ended (a time-out, a cancel) has no code of its own: queue and accounting differ about it. sacct takes
    128 off a code above it (143 is shown as 15:0, as 15 is), so of a failure its code says nothing; the exit file does.
    """
    if word not in ("COMPLETED", "FAILED"):
        return None, why
    code, colon, signal = status.partition(":")
    numbers = (whole(code, 255), whole(signal, 255)) if colon else _wait_status(whole(code, 65535))
    if numbers[0] is None or numbers[1] is None or (numbers == (0, 0) and word == "FAILED"):
        return None, why
    if 0 < numbers[1] <= 64:
        return 128 + numbers[1], "signal"
    if colon and numbers[0]:
        return None, why
    return (None if numbers[1] else numbers[0]), why


def _wait_status(status: int | None) -> tuple[int | None, int | None]:
    return (None, None) if status is None else (status >> 8, status & 0x7F)


def _seconds(limit: str) -> int | None:
    """1:00, 00:01:00 and 1-00:00:00; UNLIMITED and Partition_Limit are none."""
    match = _LIMIT.match(limit)
    if not match:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return total if total < 1 << 31 else None
