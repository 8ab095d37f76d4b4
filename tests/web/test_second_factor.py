"""Where the installation asks for a second factor, no account is come in to by its password alone."""

import pytest
from flask import Flask
from flask.testing import FlaskClient
from web.phone import Phone, options
from web.signing_in import PASSWORD, browser, is_in, make, quick_hashes, said, sign_in  # noqa: F401
from web.test_passkeys import come_in, enrol
from web.test_routes import requests, things_of
from web.test_ways_in import add_code, code_of, half, recovery_codes, with_code

from remoteweb.access import OPEN, entry
from remoteweb.access.second_factor import WAYS_OUT
from remoteweb.accounts import Account, Audit
from remoteweb.database import db

TO_CODES = (303, "/account/code")


@pytest.fixture(autouse=True)
def is_required(app: Flask) -> None:
    app.config["REQUIRE_SECOND_FACTOR"] = True


@pytest.fixture
def ada(app: Flask) -> FlaskClient:
    """A browser of ada, the administrator, who has a password alone and has just signed in by it."""
    make(app, "ada")
    client = browser(app)
    assert sign_in(client, "ada", next="/servers").status_code == 303
    return client


def led(client: FlaskClient, path: str = "/") -> tuple[int, str | None]:
    answer = client.get(path)
    return answer.status_code, answer.headers.get("Location")


def test_who_has_a_password_alone_adds_a_code_before_anything_else(app: Flask, ada: FlaskClient) -> None:
    assert led(ada) == led(ada, "/servers") == led(ada, "/account") == TO_CODES
    page = ada.get("/account/code").text
    assert "The password alone lets nobody in here" in page and "Back to your account" not in page
    secret = add_code(app, ada)
    assert led(ada) == (200, None)
    other = browser(app)
    sent = half(app, other)
    assert led(other)[0] == 401
    assert with_code(other, sent, code_of(secret, later=30)) == 303
    assert led(other) == (200, None)


def test_until_then_no_route_does_anything(app: Flask, ada: FlaskClient) -> None:
    with app.app_context():
        account_id = db.session.scalars(db.select(Account.id).where(Account.name == "ada")).one()
    walked = [one for one in requests(app, things_of(app, account_id)) if one.endpoint not in OPEN]
    assert {one.endpoint for one in walked} > WAYS_OUT
    with app.app_context():
        before = db.session.scalars(db.select(db.func.count(Audit.id))).one()
    for one in walked:
        if one.endpoint in WAYS_OUT:
            continue
        answer = one.by(ada)
        assert (answer.status_code, answer.headers["Location"]) == TO_CODES, one
        tapped = one.by(ada, headers={"HX-Request": "true"})
        assert (tapped.status_code, tapped.headers["HX-Redirect"], tapped.data) == (403, TO_CODES[1], b""), (
            one
        )
    with app.app_context():
        assert db.session.scalars(db.select(db.func.count(Audit.id))).one() == before, (
            "nothing was done or refused"
        )


def test_a_passkey_in_the_place_of_the_password_does_as_well(app: Flask, ada: FlaskClient) -> None:
    phone = Phone()
    assert "add a passkey" in ada.get("/account/code").text
    made = phone.make(options(ada.get("/account/passkey")))
    assert ada.post("/account/passkey", data={"passkey": made, "label": "Phone"}).status_code == 303
    assert led(ada, "/account") == TO_CODES, "the password is still one that lets in alone"
    assert 'action="/account/password/remove"' in ada.get("/account/code").text
    assert ada.post("/account/password/remove").status_code == 303
    assert led(ada) == (200, None)
    other = browser(app)
    assert come_in(other, phone.sign(options(other.get("/sign-in")))) == 303
    assert led(other) == (200, None)


def test_the_password_of_who_has_a_passkey_lets_nobody_in_and_gets_no_code_of_a_thief(app: Flask) -> None:
    app.config["REQUIRE_SECOND_FACTOR"] = False
    make(app, "ada")
    phone = enrol(app, "ada")
    app.config["REQUIRE_SECOND_FACTOR"] = True
    thief = browser(app, "203.0.113.9")
    answer = sign_in(thief, "ada")
    assert answer.status_code == 401 and "Sign in with your passkey" in said(answer)
    assert led(thief)[0] == 401
    with app.app_context():
        last = db.session.scalars(db.select(Audit).order_by(Audit.id.desc())).first()
        assert last is not None
        assert (last.what, last.subject, last.detail) == ("could not sign in", "ada", "by password alone")
    wrong = sign_in(thief, "ada", "wrong password")
    assert said(wrong) == said(sign_in(thief, "nobody")), "without the password nobody learns of the passkey"
    mine = browser(app)
    assert come_in(mine, phone.sign(options(mine.get("/sign-in")))) == 303
    assert led(mine) == TO_CODES


def test_who_has_lost_the_passkey_comes_in_by_a_recovery_code_and_adds_a_code(app: Flask) -> None:
    app.config["REQUIRE_SECOND_FACTOR"] = False
    make(app, "ada")
    enrol(app, "ada")
    client = browser(app)
    sign_in(client, "ada")
    codes = recovery_codes(client)
    app.config["REQUIRE_SECOND_FACTOR"] = True
    again = browser(app)
    assert sign_in(again, "ada", codes[0]).status_code == 303
    assert led(again) == TO_CODES
    add_code(app, again)
    assert led(again) == (200, None)


def test_the_code_is_not_taken_away_again(app: Flask, ada: FlaskClient) -> None:
    add_code(app, ada)
    assert 'action="/account/code/remove"' not in ada.get("/account/code").text
    assert ada.post("/account/code/remove").status_code == 303
    assert "The code stays" in ada.get("/account").text
    assert half(app, browser(app)), "it is still asked for"


def test_who_is_invited_and_sets_a_password_is_led_on_to_a_code(app: Flask) -> None:
    make(app, "ada", password="")
    with app.app_context():
        account = db.session.scalars(db.select(Account).where(Account.name == "ada")).one()
        link = entry.new_invitation(account, "http://localhost").removeprefix("http://localhost")
    client = browser(app)
    assert client.post(link).headers["Location"] == "/account/passkey"
    word = {"password": PASSWORD, "again": PASSWORD}
    assert client.post("/account/password", data=word).status_code == 303
    assert led(client, "/account") == TO_CODES


def test_signing_out_is_always_possible(app: Flask, ada: FlaskClient) -> None:
    assert 'action="/sign-out"' in ada.get("/account/code").text
    assert ada.post("/sign-out").status_code == 303
    assert led(ada)[0] == 401


def test_where_it_is_not_asked_for_a_password_is_enough(app: Flask) -> None:
    app.config["REQUIRE_SECOND_FACTOR"] = False
    make(app, "ada")
    client = browser(app)
    sign_in(client, "ada")
    assert led(client) == (200, None) and is_in(client)
