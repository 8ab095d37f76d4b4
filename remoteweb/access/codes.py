"""The pages of codes: six digits from an app as a second factor, and recovery codes for the day when the phone is gone."""

import io
import time

from flask import Response, abort, flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import audit
from remoteweb.access import bp, encrypted, proof, recovery, second_factor, totp
from remoteweb.access.account import of_viewer
from remoteweb.accounts import Account
from remoteweb.database import begin_writing, db

OFFERED_SECONDS = 1800.0


@bp.get("/account/code")
@proof.required
def code() -> str:
    account = of_viewer()
    return _page(account, totp.new_secret() if account.password and not account.totp else "")


@bp.get("/account/code.svg")
@proof.required
def code_picture() -> Response:
    """The secret travels encrypted: addresses stand in histories and logs."""
    account = of_viewer()
    secret = _offered(account, request.args.get("offer", ""))
    if secret is None:
        abort(404)
    import segno

    picture = io.BytesIO()
    name = totp.address(secret, account.name, request.host)
    segno.make(name, error="m").save(picture, kind="svg", scale=5, border=4, light="#fff")
    return Response(picture.getvalue(), mimetype="image/svg+xml")


@bp.post("/account/code")
@proof.required
def add_code() -> AnyResponse:
    begin_writing()
    account = of_viewer()
    secret = _offered(account, request.form.get("offer", ""))
    if secret is None or not account.password or account.totp:
        return redirect(url_for("access.code"), 303)
    if not totp.is_right(secret, request.form.get("code", "")):
        wrong = "That was not its code. Is the clock of the phone right?"
        return make_response(_page(account, secret, wrong), 422)
    totp.keep(account, secret)
    totp.use(account, request.form.get("code", ""))
    audit.note("added a code from an app")
    db.session.commit()
    flash(
        "From now on a code is asked for beside the password. Make recovery codes for the day when the phone is gone."
    )
    return redirect(url_for("access.account"), 303)


@bp.post("/account/code/remove")
@proof.required
def remove_code() -> AnyResponse:
    if second_factor.is_required():
        flash(second_factor.STAYS)
        return redirect(url_for("access.account"), 303)
    begin_writing()
    account = of_viewer()
    if account.totp:
        account.totp = ""
        audit.note("removed the code from an app")
    db.session.commit()
    flash("No code is asked for any more.")
    return redirect(url_for("access.account"), 303)


@bp.get("/account/recovery-codes")
@proof.required
def recovery_codes() -> str:
    return render_template("access/recovery.html", codes=[], left=recovery.left(of_viewer().id))


@bp.post("/account/recovery-codes")
@proof.required
def make_recovery_codes() -> str:
    """Shown in this one answer, and nowhere again."""
    begin_writing()
    codes = recovery.make(of_viewer().id)
    audit.note("made recovery codes")
    db.session.commit()
    return render_template("access/recovery.html", codes=codes, left=len(codes))


def _page(account: Account, secret: str, sentence: str = "") -> str:
    from remoteweb.access import passkeys

    offer = encrypted.encrypt(f"{secret} {time.time():.0f}", _what(account)) if secret else ""
    shown = totp.shown(secret) if secret else ""
    return render_template(
        "access/totp.html",
        account=account,
        offer=offer,
        shown=shown,
        sentence=sentence,
        is_required=second_factor.is_required(),
        has_passkeys=bool(passkeys.of(account.id)),
    )


def _offered(account: Account, offer: str) -> str | None:
    """The secret that this person was shown a moment ago: nothing is stored before its first code was right."""
    secret, _, at = (encrypted.decrypt(offer, _what(account)) or "").partition(" ")
    return secret if secret and float(at) > time.time() - OFFERED_SECONDS else None


def _what(account: Account) -> str:
    return f"offered totp {account.id}"
