"""Taps: cancel, resubmit, undo, send now, and the example job. Each is a row for the next sync; none goes to a server."""

import re
from urllib.parse import urlsplit

from flask import Response, abort, flash, make_response, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from remotejobs.errors import BadInput
from remotejobs.records import JobKey
from remoteweb import actions, changes, viewer
from remoteweb.jobs import action_queries, bp, examples, limits, queries, taps, words
from remoteweb.jobs.detail import shown_job
from remoteweb.jobs.listing import rows
from remoteweb.jobs.markup import job_url
from remoteweb.models import Action, Job
from remoteweb.sync import requests as sync_requests
from remoteweb.untrusted import whole

ENDED_ALREADY = "It has ended already: there is nothing left to cancel."
RUNS_STILL = "It has not ended yet: cancel it first, or wait."
_IDEM_KEY = re.compile(r"[!-~]{8,64}\Z")
ASKED_OTHERWISE = "It was asked to run again already, with other limits. Undo that first."
NOT_OURS = "It was not submitted from here, so it can only be looked at."


@bp.post("/jobs/<int(max=2147483647):job_id>/cancel")
def cancel(job_id: int) -> AnyResponse:
    job = found(job_id)
    if words.can_cancel(job):
        return _asked(job, "cancel")
    return say(job, NOT_OURS if job.key is None else ENDED_ALREADY)


@bp.post("/jobs/<int(max=2147483647):job_id>/resubmit")
def resubmit(job_id: int) -> AnyResponse:
    job = found(job_id)
    if not words.can_resubmit(job):
        return say(job, NOT_OURS if job.key is None else RUNS_STILL)
    try:
        other = limits.read(request.form) if limits.can_change(job) else {}
    except BadInput as error:
        return _not_so(job, str(error))
    return _asked(job, "resubmit", other)


@bp.post("/actions/<uuid:uuid>/undo")
def undo(uuid: object) -> AnyResponse:
    action = asked(str(uuid))
    actions.withdraw(action)  # unless it is on its way, or over: its state tells
    return say(action.job, taps.on_undo(action))


@bp.post("/actions/<uuid:uuid>/send")
def send(uuid: object) -> AnyResponse:
    action = asked(str(uuid))
    if action.state == "waiting" and not action.source.paused:
        actions.send_now(action)
        sync_requests.ask(action.source.server)
    return say(action.job, taps.on_send(action))


@bp.post("/example")
def example() -> AnyResponse:
    """A newcomer's first job: small, on this machine, and seen to live within a minute."""
    if not viewer.current().has_this_machine:
        abort(403)
    action = examples.submit(_idem_key())
    sync_requests.ask(action.source.server)
    if "HX-Request" in request.headers:
        shown = action_queries.submissions(since=0)
        return make_response(render_template("jobs/_example.html", submissions=shown, action=action))
    return redirect(url_for("jobs.index"), 303)


def found(job_id: int) -> Job:
    job = queries.job(job_id)
    if job is None:
        abort(404)
    return job


def asked(uuid: str) -> Action:
    action = action_queries.action(uuid)
    if action is None:
        abort(404)
    return action


def _asked(job: Job, kind: str, values: dict[str, str] | None = None) -> AnyResponse:
    seen = whole(request.form.get("seen", type=int), 0) or 0
    action = actions.ask(job, kind, _idem_key(), seen, asked_by=viewer.current().name, values=values)
    note = _run_already(action) if (action.kind, action.state) == ("resubmit", "done") else None
    if note is None and action.state in actions.OPEN and limits.of(action) != (values or {}):
        note = ASKED_OTHERWISE
    return say(
        found(job.id), note or taps.on_ask(action, job.name), action if action.state == "waiting" else None
    )


def _not_so(job: Job, sentence: str) -> AnyResponse:
    """What was typed stays where it was typed."""
    if "HX-Request" in request.headers:
        return say(job, sentence)
    shown = shown_job(job, changes.tag())
    page = render_template("jobs/job.html", shown=shown, typed=request.form, refusal=sentence)
    return make_response(page, 422)


def _run_already(action: Action) -> str | None:
    """For a page that was older than the run that it asks for; with the way to it, once it is in the list."""
    try:
        key = JobKey.parse(action.new_key)
    except ValueError:
        return None
    run = queries.run_of_key(action.source_id, key.hash, key.n)
    if run is None:
        return f"It was run again already, as run {key.n}, which the next sync shows."
    link = Markup('<a class="button link" href="{}">Open run {}</a>').format(job_url(run.id), run.n)
    return Markup("It was run again already, as run {}. {}").format(run.n, link)


def _idem_key() -> str:
    key = request.form.get("idem_key", "")
    if not _IDEM_KEY.match(key):
        abort(400)
    return key


def say(job: Job | None, sentence: str, action: Action | None = None) -> AnyResponse:
    """The row in its new look with a note in the thumb's reach; without htmx, the page that the tap came from."""
    if "HX-Request" in request.headers:
        return _parts(job, sentence, action)
    if action is None:
        flash(sentence)
    return redirect(_came_from(), 303)


def _parts(job: Job | None, sentence: str, action: Action | None) -> Response:
    on_page = request.form.get("at") == "job"
    tag = changes.tag()
    if job is not None:
        job = queries.job(job.id)
    return make_response(
        render_template(
            "jobs/_said.html",
            sentence=sentence,
            action=action,
            row=rows([job])[0] if job else None,
            shown=shown_job(job, tag) if job and on_page else None,
            at="job" if on_page else "list",
        )
    )


def _came_from() -> str:
    """The page with the form, with its filter: but never an address outside."""
    came = urlsplit(request.referrer or "")
    if came.netloc != request.host or not came.path.startswith("/"):
        return url_for("jobs.index")
    # Two slashes at the beginning would be another host's name.
    return "/" + came.path.lstrip("/") + (f"?{came.query}" if came.query else "")
