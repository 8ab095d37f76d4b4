"""The administrator's page of accounts: who there is, inviting, shutting out."""

from itertools import groupby
from typing import NamedTuple
from urllib.parse import urlsplit

from flask import abort, current_app, flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import viewer
from remoteweb.access import bp, entry, not_allowed, people, proof
from remoteweb.accounts import GUEST, USER, Account
from remoteweb.config import LOOPBACK
from remoteweb.database import db


class Picture(NamedTuple):
    """A QR code as a path of SVG: in the page itself, since an address of its own would carry the link into logs."""

    size: int
    path: str


@bp.get("/users")
def users() -> str:
    _for_administrators()
    return _page()


@bp.post("/users")
@proof.required
def add_user() -> AnyResponse:
    """A user of its own, or a guest of the administrator who asks."""
    _for_administrators()
    is_guest = request.form.get("role") == GUEST
    try:
        of = viewer.current().owner_id if is_guest else None
        account = people.create(request.form.get("name", ""), GUEST if is_guest else USER, of)
    except people.Refused as error:
        db.session.rollback()
        return make_response(_page(sentence=str(error)), 422)
    return _invite(account)


@bp.post("/users/<int(max=2147483647):account_id>/invite")
@proof.required
def invite_user(account_id: int) -> AnyResponse:
    _for_administrators()
    return _invite(db.get_or_404(Account, account_id))


@bp.post("/users/<int(max=2147483647):account_id>/disable")
@proof.required
def disable_user(account_id: int) -> AnyResponse:
    _for_administrators()
    account = db.get_or_404(Account, account_id)
    try:
        if account.id == viewer.current().account_id:
            raise people.Refused("That is your own account: another administrator would have to do it.")
        people.disable(account)
        flash(f"{account.name} is signed out everywhere, and comes in no more.")
    except people.Refused as error:
        db.session.rollback()
        flash(str(error))
    return redirect(url_for("access.users"), 303)


@bp.post("/users/<int(max=2147483647):account_id>/enable")
@proof.required
def enable_user(account_id: int) -> AnyResponse:
    _for_administrators()
    account = db.get_or_404(Account, account_id)
    people.enable(account)
    flash(f"{account.name} may come in again.")
    return redirect(url_for("access.users"), 303)


def _invite(account: Account) -> AnyResponse:
    """The link stands in this one answer, and nowhere again."""
    link = entry.new_invitation(account, current_app.config["PUBLIC_URL"] or request.host_url)
    return make_response(_page(link=link, invited=account.name))


def _page(sentence: str = "", link: str = "", invited: str = "") -> str:
    accounts = people.all_of_them()
    return render_template(
        "access/users.html",
        accounts=accounts,
        names={account.id: account.name for account in accounts},
        me=viewer.current().account_id,
        sentence=sentence,
        link=link,
        invited=invited,
        picture=_picture(link),
    )


def _picture(link: str) -> Picture | None:
    """For a phone's camera, where a phone can open it."""
    if not link or urlsplit(link).hostname in LOOPBACK:
        return None
    import segno

    rows = [list(row) for row in segno.make(link, error="m").matrix_iter(border=4)]
    path = []
    for y, row in enumerate(rows):
        x = 0
        for is_dark, run in groupby(row):
            width = len(list(run))
            if is_dark:
                path.append(f"M{x} {y}h{width}v1h-{width}z")
            x += width
    return Picture(len(rows), "".join(path))


def _for_administrators() -> None:
    if not viewer.current().is_administrator:
        not_allowed.because("it is an administrator's")
        abort(404)  # as for an address that is not there
