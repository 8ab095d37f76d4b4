"""The page of one's own account: how one comes in, where one is signed in, and the way out."""

from flask import flash, redirect, render_template, url_for
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import audit, viewer
from remoteweb.access import bp, recovery, sessions
from remoteweb.access.browsers import described
from remoteweb.accounts import Account
from remoteweb.database import begin_writing, db


def of_viewer() -> Account:
    return db.session.get_one(Account, viewer.current().account_id)


@bp.get("/account")
def account() -> str:
    from remoteweb.access import passkeys

    who = of_viewer()
    return render_template(
        "access/account.html",
        account=who,
        owner=db.session.get_one(Account, who.guest_of).name if who.guest_of else "",
        passkeys=passkeys.of(who.id),
        can_have_passkeys=passkeys.host() is not None,
        codes_left=recovery.left(who.id),
        sessions=sessions.of(who.id),
        this=viewer.current().session_id,
        described=described,
    )


@bp.post("/account/sessions/<int(max=2147483647):session_id>/end")
def end_session(session_id: int) -> AnyResponse:
    begin_writing()
    if sessions.end(viewer.current().account_id, session_id):
        audit.note("signed out another browser")
        flash("That browser is signed out.")
    db.session.commit()
    return redirect(url_for("access.account"), 303)


@bp.post("/account/sessions/end-others")
def end_other_sessions() -> AnyResponse:
    begin_writing()
    ended = sessions.end_all(viewer.current().account_id, but=viewer.current().session_id)
    if ended:
        audit.note("signed out all other browsers", "", str(ended))
    db.session.commit()
    flash("No other browser is signed in now.")
    return redirect(url_for("access.account"), 303)
