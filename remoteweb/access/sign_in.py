"""The page where one signs in: with a passkey, or with a name and a password (and a code, if the account asks for one).

What it says, and how long it takes, does not depend on whether there is such an account.
"""

import hashlib
import hmac
import math

from flask import Response, current_app, make_response, redirect, render_template, request
from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import refusals, secret
from remoteweb.access import (
    bp,
    coming_in,
    cookies,
    known,
    passwords,
    people,
    recovery,
    second_factor,
    sessions,
    throttle,
)
from remoteweb.access.onward import here, onward
from remoteweb.access.origin import is_loopback
from remoteweb.accounts import Account
from remoteweb.database import db

WRONG = "That did not let you in. Either there is no such account, or its password is another one."
WRONG_PASSKEY = "That passkey did not let you in. Try once more, or sign in in another way."
WRONG_CODE = (
    "That code is not the right one, or it was used already. The app shows a new one every half minute."
)
HALF_SECONDS = 600  # between the right password and the code


def page(status: int = 200, sentence: str = "", *, name: str = "", next_: str | None = None) -> Response:
    from remoteweb.access import passkeys

    answer = render_template(
        "access/sign_in.html",
        sentence=sentence,
        name=name[:64],
        onward=onward(next_),
        passkey=passkeys.options_to_show("sign in"),
        is_local=is_loopback(request.host),
    )
    return make_response(answer, status)


def for_a_stranger() -> Response:
    """In the place of any page, of one that is there and of one that is not."""
    if "HX-Request" in request.headers:
        response = refusals.answer(401, "You are signed out", "Load the page anew to sign in.")
        # The page behind a poll or a tap is over: htmx then loads it anew, and the person reads why.
        response.headers["HX-Refresh"] = "true"
        return response
    if is_loopback(request.host) and not people.can_anybody_sign_in():
        return refusals.answer(
            401,
            "This browser has not been let in",
            "It needs a link of its own, which lets it in for a year.",
        )
    return page(401, next_=here(request))


@bp.get("/sign-in")
def sign_in() -> AnyResponse:
    next_ = request.args.get("next")
    if sessions.viewer_of_request() is not None:
        return redirect(onward(next_), 303)
    return _by_link_alone() or page(next_=next_)


@bp.post("/sign-in")
def with_password() -> AnyResponse:
    name, password = request.form.get("name", "").strip().lower(), request.form.get("password", "")
    account = _enabled(name)
    tries = known.tries("sign in", throttle.ACCOUNT, name, account)
    if wait := tries.take():
        return _too_often(wait, name)
    is_right = passwords.matches(account.password if account else "", password)
    if account is not None and is_right and account.totp:
        return _ask_code(account)
    # A code alone, in the place of a passkey or a password that is lost; where two are asked for, it is one of them.
    alone = account.id if account is not None and not account.totp else 0
    by_code = recovery.use(alone, password) and not is_right
    if account is None or not (is_right or by_code):
        db.session.rollback()
        coming_in.note_failure(account, "by password")
        return page(401, WRONG, name=name, next_=request.form.get("next"))
    if is_right and second_factor.bars(account):
        coming_in.note_failure(account, "by password alone")
        return page(401, second_factor.INSTEAD, name=name, next_=request.form.get("next"))
    throttle.refill(tries.own)
    how = "by a recovery code" if by_code else "by password"
    return coming_in.let_in(account, how, onward(request.form.get("next")))


@bp.post("/sign-in/code")
def with_code() -> AnyResponse:
    from remoteweb.access import totp

    account, typed = _half_signed_in(request.form.get("half", "")), request.form.get("code", "")
    if account is None:
        return page(401, "That took too long. Sign in anew.", next_=request.form.get("next"))
    tries = known.tries("code", throttle.CODE, account.name, account)
    if wait := tries.take():
        return _too_often(wait, account.name)
    by_app = totp.use(account, typed)
    if not by_app and not recovery.use(account.id, typed):
        db.session.rollback()
        coming_in.note_failure(account, "by code, after the right password")
        return _ask_code(account, 401, WRONG_CODE)
    throttle.refill(tries.own)
    how = "by password and code" if by_app else "by password and a recovery code"
    return coming_in.let_in(account, how, onward(request.form.get("next")))


@bp.post("/sign-in/passkey")
def with_passkey() -> AnyResponse:
    from remoteweb.access import passkeys

    # Nobody guesses a passkey: the limit is for the work that a stranger makes, and bars no owner for long.
    if wait := throttle.take(f"passkey {throttle.of_address(request.remote_addr)}", throttle.ADDRESS):
        return _too_often(wait)
    try:
        account = passkeys.use(request.form.get("passkey", ""), "sign in")
    except passkeys.Refused as error:
        db.session.rollback()
        current_app.logger.info("A passkey was refused: %s", error)
        coming_in.note_failure(None, "by passkey")
        return page(401, WRONG_PASSKEY, next_=request.form.get("next"))
    return coming_in.let_in(account, "by passkey", onward(request.form.get("next")))


@bp.post("/sign-out")
def sign_out() -> AnyResponse:
    """A copy of the cookie is worth nothing from now on, and nothing that was shown stays in this browser."""
    sessions.end_this_one()
    answer = redirect("/sign-in", 303)
    cookies.take_away(answer, cookies.session_cookie())
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return answer


def _by_link_alone() -> Response | None:
    """On one's own machine, before there is any other way in."""
    if not is_loopback(request.host) or people.can_anybody_sign_in():
        return None
    return refusals.answer(
        401, "This browser has not been let in", "It needs a link of its own, which lets it in for a year."
    )


def _enabled(name: str) -> Account | None:
    account = people.find(name)
    return account if account is not None and not account.is_shut_out else None


def _too_often(wait: float, name: str = "") -> Response:
    sentence = f"There were too many tries. Try again in {throttle.when(wait)}."
    answer = page(429, sentence, name=name, next_=request.form.get("next"))
    answer.headers["Retry-After"] = str(math.ceil(wait))
    return answer


def _ask_code(account: Account, status: int = 200, sentence: str = "") -> Response:
    half = _signer().dumps([account.id, _mark(account)])
    where = onward(request.form.get("next"))
    return make_response(
        render_template("access/code.html", half=half, sentence=sentence, onward=where), status
    )


def _half_signed_in(half: str) -> Account | None:
    """Who has given the right password within the last minutes, and it still is the right one."""
    try:
        account_id, mark = _signer().loads(half, max_age=HALF_SECONDS)
    except (BadSignature, ValueError, TypeError):
        return None
    account = db.session.get(Account, account_id)
    usable = account is not None and not account.is_shut_out and hmac.compare_digest(mark, _mark(account))
    return account if usable else None


def _mark(account: Account) -> str:
    return hashlib.sha256(account.password.encode()).hexdigest()[:16]


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(secret.keys(current_app), salt="the password was right")
