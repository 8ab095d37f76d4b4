"""What a guest reaches: a list, so that what is added later is closed to guests until somebody writes it here.

Whose things an account sees is asked by every query (remoteweb/jobs/queries.py, remoteweb/sources.py). A guest sees those
of one account, and only looks: no sync, no action, no pause; and of a job neither its script nor its commands nor the free
options of the scheduler, since these hold the same paths, tokens and values of the environment as the script does.
"""

from flask import Flask, request
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import refusals, viewer
from remoteweb.access import not_allowed

GUESTS_MAY = frozenset(
    {
        "jobs.index",
        "jobs.feed",
        "jobs.job_page",
        "jobs.job_changes",
        "sync.bar",
        "sync.servers",
        "audit.index",
    }
)
# Signing out and what is their own: those pages ask for themselves who may do what.
OWN_ACCOUNT = "access."


def init_app(app: Flask) -> None:
    """After the one that finds out who it is."""
    app.before_request(_keep_guests_to_looking)
    app.add_template_global(viewer.current, "viewer")


def _keep_guests_to_looking() -> AnyResponse | None:
    endpoint = request.endpoint
    if (
        endpoint is None
        or not viewer.is_guest()
        or endpoint in GUESTS_MAY
        or endpoint.startswith(OWN_ACCOUNT)
    ):
        return None
    not_allowed.because("guests only look")
    return refusals.answer(403, "Guests only look", "Nothing was done. Whose jobs these are can do it.")
