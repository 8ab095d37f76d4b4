"""What a job has printed: its end, on a tap. The next sync brings it; the page asks for it until it is there."""

from dataclasses import dataclass

from flask import abort, flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import tails, viewer
from remoteweb.jobs import bp, queries
from remoteweb.models import Job
from remoteweb.sync import requests as sync_requests
from remoteweb.tails import Tail

CANNOT_SYNC = "Its server is not synced now: it is paused, or waits for somebody to sign in. The page Servers says which."


@dataclass(frozen=True, slots=True)
class Output:
    """`is_late`: no sync has brought it in its time, so nobody waits any more."""

    tails: list[Tail]
    is_awaited: bool
    is_late: bool


@bp.post("/jobs/<int(max=2147483647):job_id>/output")
def show_output(job_id: int) -> AnyResponse:
    job = _readable(job_id)
    can_be_read = sync_requests.is_taken(job.server_id)
    if can_be_read:
        tails.ask(job)  # first: the worker may take the sync in the very moment that it is asked for
        job = _readable(job_id)
        sync_requests.ask(job.server)
        job = _readable(job_id)
    if "HX-Request" in request.headers:
        return _part(job, "" if can_be_read else CANNOT_SYNC)
    if not can_be_read:
        flash(CANNOT_SYNC)
    return _on_its_page(job_id)


@bp.get("/jobs/<int(max=2147483647):job_id>/output")
def output(job_id: int) -> AnyResponse:
    job = _readable(job_id)
    return _part(job) if "HX-Request" in request.headers else _on_its_page(job_id)


def of(job: Job) -> Output | None:
    """None: there is nothing that could be read, or this is not for whoever looks."""
    if viewer.current().is_guest or job.key is None or job.source is None:
        return None
    if job.started is None and job.ended is None:
        return None
    found = list(tails.of(job.id))
    if job.state == "failed" and any(tail.text.strip() for tail in found if tail.stream == "stderr"):
        found.reverse()  # what a failure said comes first
    awaited = tails.is_awaited(found)
    return Output(found, awaited, not awaited and any(tail.read_at is None for tail in found))


def _readable(job_id: int) -> Job:
    job = queries.job(job_id)
    if job is None or job.key is None:
        abort(404)
    return job


def _part(job: Job, trouble: str = "") -> AnyResponse:
    return make_response(render_template("jobs/_output.html", job=job, output=of(job), trouble=trouble))


def _on_its_page(job_id: int) -> AnyResponse:
    return redirect(url_for("jobs.job_page", job_id=job_id, _anchor=f"output-{job_id}"), 303)
