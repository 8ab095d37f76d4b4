"""An invitation: a page that says whose it is, and a button that lets this browser in. Only the button uses it up."""

from flask import render_template, url_for
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import refusals
from remoteweb.access import bp, coming_in, entry

GONE = (
    "This invitation does not let you in any more",
    "It was used already, or is older than a day. Ask for another one.",
)


@bp.get("/invited/<token>")
def invited(token: str) -> str | AnyResponse:
    """Looking at it changes nothing: programs that show a preview of a link look too."""
    account = entry.of("invitation", token)
    if account is None:
        return refusals.answer(404, *GONE)
    return render_template("access/invited.html", account=account, token=token)


@bp.post("/invited/<token>")
def accept(token: str) -> AnyResponse:
    account = entry.use("invitation", token)
    if account is None:
        return refusals.answer(404, *GONE)
    from remoteweb.access import passkeys

    way = "access.passkey" if passkeys.host() is not None else "access.password"
    return coming_in.let_in(account, "by invitation", url_for(way))
