"""How states, reasons and evidence are said to a person. What a table does not know is shown in the scheduler's words."""

import time
from typing import NamedTuple

from remoteweb.models import Job


class Look(NamedTuple):
    """Icon, tone (a class of the style sheet) and word: a state is never told by colour alone."""

    icon: str
    tone: str
    word: str


class Reason(NamedTuple):
    headline: str  # in the place of the state's word
    sentence: str  # what it means, and what can be done


LOOKS = {
    "submitted": Look("wait", "off", "Submitted"),
    "queued": Look("wait", "off", "Queued"),
    "held": Look("hold", "warn", "Held"),
    "running": Look("run", "run", "Running"),
    "suspended": Look("hold", "warn", "Suspended"),
    "finishing": Look("run", "run", "Finishing"),
    "done": Look("done", "ok", "Done"),
    "failed": Look("alert", "bad", "Failed"),
    "cancelled": Look("stop", "off", "Cancelled"),
    "lost": Look("ask", "warn", "Lost"),
}
SETTLING = Look("ask", "warn", "Left the queue, outcome not yet known")

GONE = "It is gone, and left no note of how it ended: it was killed, or its machine went down."
# Why a job failed or was lost.
FAILURES = {
    "time_limit": Reason(
        "Ran out of time",
        "It reached its time limit and was stopped. Run again, it needs a longer limit or less work.",
    ),
    "deadline": Reason(
        "Missed its deadline", "It could not end before the deadline that it was submitted with."
    ),
    "memory": Reason(
        "Ran out of memory",
        "It used more memory than it had asked for and was stopped. Run again, it needs more.",
    ),
    "node": Reason(
        "The node failed",
        "The machine under it failed. That is no fault of the job: running it again may be all it needs.",
    ),
    "boot": Reason(
        "The node did not start",
        "The machine for it could not be started. Running it again may be all it needs.",
    ),
    "signal": Reason("Stopped by a signal", "A signal ended it. That was not asked for here."),
    "dependency": Reason(
        "Never started", "It waited for another job, and that one did not end as it had to."
    ),
    "preempted": Reason(
        "Made way for another job", "It was stopped because a more urgent job needed its place."
    ),
    "launch": Reason("Could not start", "The scheduler accepted it but could not start it."),
    "exit_code": Reason("Failed", "It ended by itself and reported an error. Its own output says more."),
    "no_trace": Reason("Ended without a trace", GONE),
    "vanished": Reason("Ended without a trace", GONE),
    "rebooted": Reason("The machine restarted", "Its machine was restarted while it ran."),
}
FAILED = Reason("Failed", "It ended with an error. Its own output says more.")
LOST = Reason(
    "Lost from sight",
    "It left the queue, and neither accounting nor the job itself says how it ended. The search goes on for seven days.",
)
UNKNOWN = Reason("Unknown state", "The scheduler uses a word for it that is not known here.")

# Why a job waits, is held or was cancelled: a few words after the state's own.
NOTES = {
    "resources": "for free resources",
    "priority": "others are first",
    "dependency": "after another job",
    "begin_time": "not before its time",
    "qos": "a limit of its QOS is reached",
    "limit": "a limit of yours is reached",
    "account": "a limit of its account is reached",
    "partition": "its partition is not available",
    "node": "nodes that it needs are down",
    "license": "for a licence",
    "held_by_user": "by you",
    "held_by_admin": "by an administrator",
    "by_user": "by you",
    "by_admin": "by an administrator",
    "maintenance": "maintenance is planned",
    "requeued": "to run again",
    "launch": "after a start that failed",
    "dependency_never": "after another job that did not end as it had to",
    "reservation": "for a reservation",
    "special_exit": "after a special exit code",
    "sibling": "its twin runs on another cluster",
    "orphaned": "without its wrapper: its end may go unnoted",
    "stopped": "by a stop signal",
    "preempted": "made way for another job",
}

WITNESSES = {
    "queue": "queue",
    "accounting": "accounting",
    "exit_file": "its own note",
    "action": "your request",
    "inferred": "by inference",
}
FINAL = ("done", "failed", "cancelled", "lost")


# Seconds after which what was seen is told as what was last seen: with a server in trouble, and without.
OUT_OF_SIGHT_IN_TROUBLE, OUT_OF_SIGHT = 180.0, 900.0


def is_out_of_sight(job: Job) -> bool:
    """Nobody has confirmed for a while that this job still is what it was: its server is not asked, or does not answer."""
    if is_final(job) or job.source is None or job.source.confirmed_at is None:
        return False
    in_trouble = bool(job.server.error or job.server.needs_person)
    return time.time() - job.source.confirmed_at > (OUT_OF_SIGHT_IN_TROUBLE if in_trouble else OUT_OF_SIGHT)


def look(job: Job) -> Look:
    if job.settling:
        return SETTLING
    if job.state in LOOKS and is_out_of_sight(job):
        return Look("ask", "warn", f"Last seen {LOOKS[job.state].word.lower()}")
    known = LOOKS.get(job.state)
    if known is None:
        return Look(
            "ask",
            "warn",
            f"Unknown state {job.raw or job.state}" if job.state != "unknown" or job.raw else "Unknown",
        )
    why = failure(job)
    return known._replace(word=why.headline) if why else known


def failure(job: Job) -> Reason | None:
    """Why a person has to look at this job, or None if nobody has to."""
    if job.settling:
        return None
    if job.state == "lost":
        known = FAILURES.get(job.reason)
        return (
            LOST
            if known is None
            else LOST._replace(sentence=f"{LOST.sentence} The last that was seen: {known.headline.lower()}.")
        )
    if job.state == "failed":
        return FAILURES.get(job.reason, FAILED) if _has_another_cause(job) else _failed(job)
    return None if job.state in LOOKS else UNKNOWN


def _has_another_cause(job: Job) -> bool:
    """Its exit code, if there is one, only follows from that."""
    return not job.exit_code or job.reason in FAILURES.keys() - {"exit_code"}


def _failed(job: Job) -> Reason:
    return FAILURES["exit_code"]._replace(headline=f"Failed with exit code {job.exit_code}")


def note(job: Job) -> str:
    """Why it waits, or who cancelled it; the scheduler's own word where no table knows it."""
    if job.state in ("failed", "lost", "done") or job.settling or not job.reason:
        return ""
    return NOTES.get(job.reason) or job.reason.replace("_", " ")


def witness(evidence: str) -> str:
    return WITNESSES.get(evidence, evidence.replace("_", " "))


def known(evidence: str) -> str:
    """The same as the beginning of a sentence."""
    return "Known by inference" if evidence == "inferred" else f"Known from {witness(evidence)}"


def is_final(job: Job) -> bool:
    return job.state in FINAL and not job.settling


def can_cancel(job: Job) -> bool:
    """A button stands only where it can act: on a job of ours that may still run."""
    return job.key is not None and not is_final(job) and not job.settling


def can_resubmit(job: Job) -> bool:
    return job.key is not None and is_final(job)
