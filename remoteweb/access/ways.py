"""The pages where one changes one's ways in: password and passkeys. Each asks for a fresh proof first."""

from flask import current_app, flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import audit, viewer
from remoteweb.access import bp, passwords, people, proof
from remoteweb.access.account import of_viewer
from remoteweb.database import begin_writing, db


@bp.get("/account/password")
@proof.required
def password() -> str:
    return render_template("access/password.html", account=of_viewer(), sentence="")


@bp.post("/account/password")
@proof.required
def set_password() -> AnyResponse:
    account, typed = of_viewer(), request.form.get("password", "")
    try:
        if typed != request.form.get("again", ""):
            raise passwords.WeakPassword("The two are not the same. Nothing was changed.")
        people.set_password(account, typed, viewer.current().session_id)
    except passwords.WeakPassword as error:
        return make_response(
            render_template("access/password.html", account=account, sentence=str(error)), 422
        )
    flash("The password is set. Every other browser is signed out.")
    return redirect(url_for("access.account"), 303)


@bp.post("/account/password/remove")
@proof.required
def remove_password() -> AnyResponse:
    from remoteweb.access import passkeys

    account = of_viewer()
    if passkeys.of(account.id):
        people.remove_password(account, viewer.current().session_id)
        flash("The password is removed.")
    else:
        flash("The password stays: without a passkey it is the only way in.")
    return redirect(url_for("access.account"), 303)


@bp.get("/account/passkey")
@proof.required
def passkey() -> AnyResponse:
    return _passkey_page(200, "")


@bp.post("/account/passkey")
@proof.required
def add_passkey() -> AnyResponse:
    from remoteweb.access import passkeys

    account, label = of_viewer(), request.form.get("label", "")
    try:
        passkeys.add(account, request.form.get("passkey", ""), label)
    except passkeys.Refused as error:
        db.session.rollback()
        current_app.logger.info("A new passkey was refused: %s", error)
        return _passkey_page(422, "That did not work: nothing was added. Try once more.")
    audit.note("added a passkey", label)
    db.session.commit()
    flash("The passkey is added.")
    return redirect(url_for("access.account"), 303)


@bp.post("/account/passkeys/<int(max=2147483647):passkey_id>/remove")
@proof.required
def remove_passkey(passkey_id: int) -> AnyResponse:
    """Not the last way in: then one's own account would be shut."""
    from remoteweb.access import passkeys

    begin_writing()
    account = of_viewer()
    there = passkeys.of(account.id)
    mine = next((one for one in there if one.id == passkey_id), None)
    if mine is not None and len(there) == 1 and not account.password:
        flash("The passkey stays: without a password it is the only way in.")
    elif mine is not None:
        audit.note("removed a passkey", mine.label)
        db.session.delete(mine)
        flash("The passkey is removed here. Your phone may go on listing it.")
    db.session.commit()
    return redirect(url_for("access.account"), 303)


def _passkey_page(status: int, sentence: str) -> AnyResponse:
    from remoteweb.access import passkeys

    options = passkeys.options_to_add(of_viewer())
    return make_response(render_template("access/passkey.html", passkey=options, sentence=sentence), status)
