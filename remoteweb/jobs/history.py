"""What happened to a job, step by step, each with who says so: from its times, the states it was seen in, and taps."""

from collections.abc import Iterator
from dataclasses import dataclass

from remoteweb.jobs import asked, taps, words
from remoteweb.jobs.times import duration, our_time
from remoteweb.models import Action, Event, Job


@dataclass(frozen=True, slots=True)
class Step:
    at: float  # our clock
    title: str
    detail: str
    tone: str = "off"


# States that have no time of their own in a job's record: told at the time that they were first seen.
_SEEN = ("held", "suspended", "finishing", "unknown")


def history(job: Job, events: list[Event], actions: list[Action]) -> list[Step]:
    steps = [*_times(job), *_seen(job, events), *_taps(actions)]
    return sorted(steps, key=lambda step: step.at)


def _times(job: Job) -> Iterator[Step]:
    submitted, started, ended = (our_time(job, at) for at in (job.submitted, job.started, job.ended))
    if submitted is not None:
        as_what = f" as job {job.scheduler_id}" if job.scheduler_id else ""
        yield Step(submitted, "Submitted", f"record on {job.server.label}{as_what}")
    if started is not None:
        where = f" on {job.nodes}" if job.nodes else ""
        waits = 0.0 if submitted is None else started - submitted
        waited = f"after waiting {duration(waits)}" if waits >= 1 else ""
        again = f"attempt {job.attempt}" if job.attempt > 1 else ""
        yield Step(started, f"Started{where}", ", ".join(part for part in (again, waited) if part), "run")
    if ended is not None and words.is_final(job):
        yield Step(ended, words.look(job).word, _ending(job), words.look(job).tone)
    cleaned = _cleaned_at(job)
    if cleaned is not None:
        said = (
            f"its run folder went to the trash on {job.server.label}; its record stays, and can be run again"
        )
        yield Step(cleaned, "Cleaned", said)


def _cleaned_at(job: Job) -> float | None:
    if not job.cleaned:
        return None
    fact = asked.document(job.facts).get("cleaned")
    at = str(fact.get("time", "")) if isinstance(fact, dict) else ""
    return our_time(job, float(at)) if at.isdecimal() and len(at) < 12 else None


def _ending(job: Job) -> str:
    says = words.witness(job.evidence)
    if job.evidence == "action":
        says = "as you asked"
    elif job.evidence != "inferred":
        says += f" says {job.raw}" if job.raw else " says so"
    parts = [says]
    if job.started is not None and job.ended is not None:
        parts.append(f"after {duration(job.ended - job.started)}")
    if job.exit_code is not None:
        parts.append(f"exit code {job.exit_code}")
    return ", ".join(parts)


def _seen(job: Job, events: list[Event]) -> Iterator[Step]:
    attempt = 1
    for event in events:
        if event.attempt > attempt:
            attempt = event.attempt
            yield Step(event.seen_at, f"Queued again, attempt {attempt}", _witnessed(event), "warn")
        elif event.state in _SEEN or (event.state in words.FINAL and job.ended is None):
            known = words.LOOKS.get(event.state)
            title = known.word if known else f"Unknown state {event.raw}".strip()
            yield Step(event.seen_at, title, _witnessed(event), known.tone if known else "warn")


def _witnessed(event: Event) -> str:
    says = words.witness(event.evidence)
    return f"{says} says {event.raw}" if event.raw else f"seen in a sync, {says}"


def _taps(actions: list[Action]) -> Iterator[Step]:
    for action in actions:
        asked = "You asked to cancel it" if action.kind == "cancel" else "You asked to run it again"
        came_of_it = "" if action.state == "waiting" else taps.progress(action)
        yield Step(action.asked_at, asked, came_of_it, taps.TONES.get(action.state, "off"))
