"""Notes what was answered with "you may not" or "too often", whichever view said so; what is added later, too."""

from flask import Flask, Response, current_app, g, make_response, redirect, request
from sqlalchemy.exc import DBAPIError
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import refused, viewer
from remoteweb.access import sessions
from remoteweb.database import db
from remoteweb.untrusted import line

REASONS = {403: "it is not allowed", 429: "too many tries"}
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def init_app(app: Flask) -> None:
    app.after_request(_note)


def because(reason: str) -> None:
    """Why this request is refused, with whatever status. "": it is none of these, or is noted already."""
    g.refused_because = reason


def lead_to(page: str) -> AnyResponse:
    """In the place of what was asked for: something is wanted of the person first, and nothing is refused."""
    if "HX-Request" in request.headers:
        because("")
        answer = make_response("", 403)
        answer.headers["HX-Redirect"] = page
        return answer
    return redirect(page, 303)


def _note(response: Response) -> Response:
    reason = g.get("refused_because", REASONS.get(response.status_code, ""))
    if reason:
        method = request.method if request.method in METHODS else "?"
        route = request.url_rule.rule if request.url_rule is not None else "no page of ours"
        try:
            refused.note(_who(), line(request.remote_addr, 60), f"{method} {route}", reason)
        except DBAPIError as error:  # what was refused stays refused
            db.session.rollback()
            current_app.logger.info("A refused request was not noted: %s", error.orig)
    return response


def _who() -> "viewer.Viewer | None":
    """Also where it was refused before anybody looked."""
    found: viewer.Viewer | None = g.get("viewer")
    return found or sessions.viewer_of_request(looks=False)
