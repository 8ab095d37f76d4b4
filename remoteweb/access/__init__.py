"""Who may come in: a browser that is signed in, or that opens a printed link. And who proves that it is the person."""

from flask import Blueprint, Flask, Response, current_app, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import refusals, viewer
from remoteweb.access import coming_in, cookies, entry, not_allowed, second_factor, sessions
from remoteweb.access.entry import new_link
from remoteweb.access.origin import is_our_host, is_our_page
from remoteweb.access.quiet import keep_tokens_out_of_logs

__all__ = ["bp", "init_app", "new_link"]

bp: Blueprint = Blueprint("access", __name__)

# The only endpoints that answer a stranger. Everything else does not, also what will be added later.
OPEN = frozenset(
    {
        "static",
        "healthz",
        "readyz",
        "access.enter",
        "access.sign_in",
        "access.with_password",
        "access.with_code",
        "access.with_passkey",
        "access.invited",
        "access.accept",
    }
)


def init_app(app: Flask) -> None:
    app.before_request(_keep_out)
    not_allowed.init_app(app)
    app.session_interface = cookies.MessageCookie()
    keep_tokens_out_of_logs()


@bp.get("/enter/<token>")
def enter(token: str) -> AnyResponse:
    """Take the link's token, give a cookie.

    The one GET that changes something: a link that is opened from a terminal can be nothing else.
    """
    if request.method == "HEAD" or "Sec-Purpose" in request.headers:
        # A browser that looks ahead must not use up the link: the person has not come yet.
        return Response(status=204)
    account = entry.use("link", token)
    if account is not None:
        return coming_in.let_in(account, "by link", by_link=True)
    if sessions.viewer_of_request() is not None:
        return redirect("/", 303)
    return refusals.answer(
        401, "This link does not let you in any more", "It was used already, or is older than an hour."
    )


def _keep_out() -> AnyResponse | None:
    if not is_our_host(request.host, current_app.config["ALLOWED_HOSTS"]):
        return make_response(render_template("access/foreign.html"), 400)
    if not is_our_page(request):
        not_allowed.because("it came from no page of ours")
        return refusals.answer(
            403,
            "This did not come from a page of remoteweb",
            "Nothing was done. Open the page and try again there; a script has to send the header Origin.",
        )
    if request.endpoint in OPEN:
        return None
    who = sessions.viewer_of_request()
    viewer.become(who)
    return for_a_stranger() if who is None else second_factor.lead(who)


# The views register themselves on `bp`.
from remoteweb.access import account as account  # noqa: E402
from remoteweb.access import codes as codes  # noqa: E402
from remoteweb.access import invited as invited  # noqa: E402
from remoteweb.access import proving as proving  # noqa: E402
from remoteweb.access import users as users  # noqa: E402
from remoteweb.access import ways as ways  # noqa: E402
from remoteweb.access.sign_in import for_a_stranger  # noqa: E402
