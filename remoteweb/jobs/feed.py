"""What changed since a page was made: parts that htmx puts in their places, or 304 and nothing."""

import re

from flask import Response, make_response, render_template, request

from remoteweb import changes
from remoteweb.jobs import bp, queries
from remoteweb.jobs.filters import Filter
from remoteweb.jobs.listing import listing, pending_submissions, rhythm, rows, told
from remoteweb.jobs.searching import matches, search
from remoteweb.models import Job

MOST = 30  # changes: with more, the first page anew is less to send and to do
_TAG = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})\Z", re.ASCII)


@bp.get("/changes")
def feed() -> Response:
    tag = changes.tag()
    known = request.headers.get("HX-PTag", "")
    if known == tag:
        return not_modified(tag)
    chosen = Filter.parse(request.args)
    since = news_since(known, tag)
    changed = [] if since is None else queries.changed_since(since, MOST + 1)
    if since is None or len(changed) > MOST:
        return answer(render_template("jobs/_anew.html", listing=listing(chosen)), tag)
    return answer(_parts(chosen, changed, since, tag), tag)


def _parts(chosen: Filter, changed: list[Job], since: int, tag: str) -> str:
    shown = [job for job in changed if _belongs(chosen, job)]
    gone = [job for job in changed if job not in shown]
    counts, total = told(search(chosen)[1] if chosen.text else queries.counts(chosen))
    seconds = rhythm()
    sources_changed = queries.sources_changed_since(since)
    return render_template(
        "jobs/_changes.html",
        chosen=chosen,
        rows=rows(shown),
        gone=gone,
        counts=counts,
        total=total,
        seconds=seconds if str(seconds) != request.args.get("every") else None,
        sources_changed=sources_changed,
        submissions=pending_submissions() if sources_changed or changed else None,
        tag=tag,
    )


def _belongs(chosen: Filter, job: Job) -> bool:
    if job.group not in chosen.groups or (chosen.server is not None and job.server_id != chosen.server):
        return False
    return not chosen.text or matches(chosen, job)


def news_since(known: str, tag: str) -> int | None:
    """The change that the page has seen, or None: then its tag says nothing, and it has to be made anew."""
    old, new = _TAG.match(known), _TAG.match(tag)
    if not old or not new or old[1] != new[1] or int(old[2]) > int(new[2]):
        return None
    return int(old[2])


def answer(body: str, tag: str) -> Response:
    """The tag goes with 200 and 304 only: the poller would take it over from an error too, and skip what it missed."""
    response = make_response(body)
    response.headers["HX-PTag"] = tag
    return response


def not_modified(tag: str) -> Response:
    response = Response(status=304)
    response.headers["HX-PTag"] = tag
    return response
