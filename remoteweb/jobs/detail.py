"""One job's page."""

import json
from dataclasses import dataclass
from typing import Any

from flask import abort, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import changes
from remoteweb.jobs import bp, feed, queries, words
from remoteweb.jobs.history import Step, history
from remoteweb.jobs.listing import POLL_IDLE, POLL_LIVE, Row, row
from remoteweb.jobs.pages import wants_part
from remoteweb.models import Action, Job


@dataclass(frozen=True, slots=True)
class Shown:
    job: Job
    row: Row
    failure: words.Reason | None
    actions: list[Action]
    steps: list[Step]
    asked: list[tuple[str, str]]
    command: str
    script: str
    runs: list[Job]
    next_run: Job | None  # a later run of the same work
    tag: str
    seconds: int


@bp.get("/jobs/<int:job_id>")
def job_page(job_id: int) -> str:
    shown = _found(job_id)
    return render_template("jobs/_job.html" if wants_part() else "jobs/job.html", shown=shown)


@bp.get("/jobs/<int:job_id>/changes")
def job_changes(job_id: int) -> AnyResponse:
    """The feed of one job's page: that job, and the age of what its server said."""
    tag = changes.tag()
    known = request.headers.get("HX-PTag", "")
    since = None if known == tag else feed.news_since(known, tag)
    job = queries.job(job_id)
    if job is None:
        abort(404)
    untouched = since is not None and job.change <= since and (not job.source or job.source.change <= since)
    if known == tag or untouched:
        return feed.not_modified(tag)
    return feed.answer(render_template("jobs/_job_changed.html", shown=shown_job(job)), tag)


def _found(job_id: int) -> Shown:
    job = queries.job(job_id)
    if job is None:
        abort(404)
    return shown_job(job)


def shown_job(job: Job) -> Shown:
    tag = changes.tag()
    actions = queries.actions(job)
    settings = document(job.settings)
    runs = queries.runs(job)
    return Shown(
        job=job,
        row=row(job, queries.last_actions([job.id]).get(job.id)),
        failure=words.failure(job),
        actions=actions,
        steps=history(job, queries.events(job), actions),
        asked=asked(job, settings),
        command=command(settings),
        script=str(settings.get("script") or ""),
        runs=runs,
        next_run=runs[0] if runs and runs[0].n > job.n else None,
        tag=tag,
        seconds=POLL_IDLE if words.is_final(job) else POLL_LIVE,
    )


def document(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


# What can be asked of a scheduler, in the order of the page.
ASKED = {
    "walltime": "Time limit",
    "cores": "Cores",
    "memory": "Memory",
    "gpus": "GPUs",
    "partition": "Partition",
    "account": "Account",
    "qos": "QOS",
}


def asked(job: Job, settings: dict[str, Any]) -> list[tuple[str, str]]:
    """The resources that were asked for, as far as they were."""
    inner = settings.get("resources")
    given = {**settings, **inner} if isinstance(inner, dict) else settings
    found = [
        (title, str(given[name])) for name, title in ASKED.items() if given.get(name) not in (None, "", [])
    ]
    if job.partition and "partition" not in given:
        found.append(("Partition", job.partition))
    return found


def command(settings: dict[str, Any]) -> str:
    arguments = settings.get("arguments")
    parts = [settings.get("command"), *(arguments if isinstance(arguments, list) else [])]
    return " ".join(str(part) for part in parts if part)
