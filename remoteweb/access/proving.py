"""The page that asks for a fresh proof of identity: by passkey, password or code, else by a fresh link."""

import math

from flask import Response, current_app, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import audit, viewer
from remoteweb.access import bp, not_allowed, passwords, sessions, throttle
from remoteweb.access.account import of_viewer
from remoteweb.access.onward import onward
from remoteweb.database import begin_writing, db

WRONG = "That was not it."
WRONG_PASSKEY = "That passkey was not taken. Try once more."


@bp.get("/proof")
def prove() -> Response:
    return _page()


@bp.post("/proof")
def prove_by_password() -> AnyResponse:
    from remoteweb.access import totp

    if wait := throttle.take(_key(), throttle.PROOF):
        return _too_often(wait)
    account, typed = of_viewer(), request.form.get("password", "")
    if passwords.matches(account.password, typed):
        return _proved("by password")
    if totp.use(account, typed):
        return _proved("by code")
    return _failed("by password", WRONG)


@bp.post("/proof/passkey")
def prove_by_passkey() -> AnyResponse:
    from remoteweb.access import passkeys

    if wait := throttle.take(_key(), throttle.PROOF):
        return _too_often(wait)
    try:
        passkeys.use(request.form.get("passkey", ""), _purpose(), viewer.current().account_id)
    except passkeys.Refused as error:
        current_app.logger.info("A passkey was refused: %s", error)
        return _failed("by passkey", WRONG_PASSKEY)
    return _proved("by passkey")


def _proved(how: str) -> AnyResponse:
    """Commits what the caller has begun."""
    begin_writing()
    session_id = viewer.current().session_id
    assert session_id is not None, "a request has a session"  # noqa: S101  for mypy
    secret = sessions.prove(session_id)
    throttle.refill(_key())
    audit.note("proved who it is", "", how)
    db.session.commit()
    answer = redirect(onward(request.form.get("next")), 303)
    sessions.give_cookie(answer, secret)
    return answer


def _failed(how: str, sentence: str) -> Response:
    db.session.rollback()
    begin_writing()
    audit.note("could not prove who it is", "", how)
    not_allowed.because("")  # that says it
    db.session.commit()
    return _page(403, sentence)


def _too_often(wait: float) -> Response:
    answer = _page(429, f"There were too many tries. Try again in {throttle.when(wait)}.")
    answer.headers["Retry-After"] = str(math.ceil(wait))
    return answer


def _page(status: int = 200, sentence: str = "") -> Response:
    from remoteweb.access import passkeys

    account = of_viewer()
    answer = render_template(
        "access/proof.html",
        account=account,
        sentence=sentence,
        onward=onward(request.values.get("next")),
        passkey=passkeys.options_to_show(_purpose(), account.id),
    )
    return make_response(answer, status)


def _purpose() -> str:
    return f"prove {viewer.current().session_id}"


def _key() -> str:
    """By session: who has copied a cookie cannot keep its owner from proving it elsewhere."""
    return f"proof {viewer.current().session_id}"
