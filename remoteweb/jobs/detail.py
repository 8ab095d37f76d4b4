"""One job's page."""

from dataclasses import dataclass

from flask import abort, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import changes, viewer
from remoteweb.jobs import action_queries, asked, bp, feed, queries, words
from remoteweb.jobs.history import Step, history
from remoteweb.jobs.listing import POLL_IDLE, POLL_LIVE, Row, row
from remoteweb.jobs.output import Output
from remoteweb.jobs.output import of as output_of
from remoteweb.jobs.pages import wants_part
from remoteweb.models import Action, Job


@dataclass(frozen=True, slots=True)
class Shown:
    job: Job
    row: Row
    failure: words.Reason | None
    actions: list[Action]
    steps: list[Step]
    resources: list[tuple[str, str]]
    commands: str
    script: str
    runs: list[Job]
    next_run: Job | None  # a later run of the same work
    tag: str
    seconds: int
    output: Output | None


@bp.get("/jobs/<int(max=2147483647):job_id>")
def job_page(job_id: int) -> str:
    tag = changes.tag()  # before the job: what changes meanwhile is told again, and not skipped
    job = queries.job(job_id)
    if job is None:
        abort(404)
    shown = shown_job(job, tag)
    return render_template("jobs/_job.html" if wants_part() else "jobs/job.html", shown=shown)


@bp.get("/jobs/<int(max=2147483647):job_id>/changes")
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
    return feed.answer(render_template("jobs/_job_changed.html", shown=shown_job(job, tag)), tag)


def shown_job(job: Job, tag: str) -> Shown:
    actions = action_queries.actions(job)
    settings = asked.document(job.settings)
    runs = queries.runs(job)
    looks_only = (
        viewer.current().is_guest
    )  # what a script holds is for whose job it is: see remoteweb/rights.py
    in_row = row(job, action_queries.last_actions([job.id]).get(job.id))
    return Shown(
        job=job,
        row=in_row,
        failure=words.failure(job),
        actions=actions,
        steps=history(job, queries.events(job), actions),
        resources=asked.resources(job, settings, looks_only=looks_only),
        commands="" if looks_only else asked.commands(settings),
        script="" if looks_only else str(settings.get("script") or ""),
        runs=runs,
        next_run=runs[0] if runs and runs[0].n > job.n else None,
        tag=tag,
        seconds=POLL_IDLE if words.is_final(job) and in_row.action is None else POLL_LIVE,
        output=output_of(job),
    )
