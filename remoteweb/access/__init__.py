"""Who may come in: a browser that is signed in, or that opens a printed link. And who proves that it is the person."""

from flask import Blueprint, Flask, Response, current_app, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import refusals, viewer
from remoteweb.access import sessions
from remoteweb.access.entry import new_link, use_link
from remoteweb.access.origin import is_our_host, is_our_page
from remoteweb.access.quiet import keep_tokens_out_of_logs

__all__ = ["bp", "init_app", "new_link"]

bp = Blueprint("access", __name__)

# The only endpoints that answer a stranger. Everything else does not, also what will be added later.
OPEN = frozenset({"static", "healthz", "access.enter"})


def init_app(app: Flask) -> None:
    app.before_request(_keep_out)
    keep_tokens_out_of_logs()


@bp.get("/enter/<token>")
def enter(token: str) -> AnyResponse:
    """Take the link's token, give a cookie.

    The one GET that changes something: a link that is opened from a terminal can be nothing else.
    """
    if request.method == "HEAD" or "Sec-Purpose" in request.headers:
        # A browser that looks ahead must not use up the link: the person has not come yet.
        return Response(status=204)
    secret = use_link(token)
    if secret is None and sessions.viewer_of_request() is None:
        return _refuse(
            401, "This link does not let you in any more", "It was used already, or is older than an hour."
        )
    answer = redirect("/", 303)
    if secret is not None:
        sessions.give_cookie(answer, secret)
    return answer


def _keep_out() -> AnyResponse | None:
    if not is_our_host(request.host, current_app.config["ALLOWED_HOSTS"]):
        return make_response(render_template("access/foreign.html"), 400)
    if not is_our_page(request):
        return _refuse(
            403,
            "This did not come from a page of remoteweb",
            "Nothing was done. Open the page and try again there; a script has to send the header Origin.",
        )
    if request.endpoint in OPEN:
        return None
    who = sessions.viewer_of_request()
    viewer.become(who)
    if who is None:
        return _refuse(
            401,
            "This browser has not been let in",
            "It needs a link of its own, which lets it in for a year.",
        )
    return None


def _refuse(status: int, title: str, sentence: str) -> Response:
    response = refusals.answer(status, title, sentence)
    if status == 401:
        # The page behind a poll or a tap is over: htmx then loads it anew, and the person reads why.
        response.headers["HX-Refresh"] = "true"
    return response


from remoteweb.access import proving as proving  # noqa: E402  the views register themselves on `bp`
