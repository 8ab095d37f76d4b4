"""Passkeys: what is taken from a phone, and what is not. (A real browser's are in test_passkeys_browser.)"""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from web.phone import PRESENT, Phone, options
from web.signing_in import browser, change, is_in, make, quick_hashes, sign_in  # noqa: F401

from remoteweb.accounts import Audit, Entry, Passkey
from remoteweb.database import db


@pytest.fixture
def enrolled(app: Flask) -> Phone:
    """A phone with a passkey of ada's."""
    make(app, "ada")
    return enrol(app, "ada")


def enrol(app: Flask, name: str, number: int = 1) -> Phone:
    client, phone = browser(app), Phone(number=number)
    sign_in(client, name)
    answer = client.post(
        "/account/passkey",
        data={"passkey": phone.make(options(client.get("/account/passkey"))), "label": "Phone"},
    )
    assert answer.status_code == 303
    return phone


def come_in(client: FlaskClient, answer: str) -> int:
    return client.post("/sign-in/passkey", data={"passkey": answer}).status_code


def test_a_passkey_lets_in_without_a_name_and_a_password(app: Flask, enrolled: Phone) -> None:
    client = browser(app)
    asked = options(client.get("/sign-in"))
    assert asked["userVerification"] == "required" and not asked.get("allowCredentials")
    assert come_in(client, enrolled.sign(asked)) == 303
    assert "ada" in client.get("/account").text


def test_a_new_passkey_has_to_know_its_account_and_to_look_at_the_person(app: Flask) -> None:
    make(app, "ada")
    client = browser(app)
    sign_in(client, "ada")
    asked = options(client.get("/account/passkey"))
    assert asked["authenticatorSelection"]["residentKey"] == "required"
    assert asked["authenticatorSelection"]["userVerification"] == "required"
    assert asked["rp"]["id"] == "localhost"
    assert b"ada" not in asked["user"]["id"].encode()  # what the phone keeps names nobody


def test_an_answer_counts_once(app: Flask, enrolled: Phone) -> None:
    answer = enrolled.sign(options(browser(app).get("/sign-in")))
    assert [come_in(browser(app), answer) for _ in range(2)] == [303, 401]


# What a phone, or what is none, could send in the place of a good answer.
Forge = Callable[[Phone, dict[str, Any], Flask], str]
FORGED: dict[str, Forge] = {
    "for another site": lambda phone, asked, app: phone.sign(asked, origin="https://evil.example"),
    "for another port": lambda phone, asked, app: phone.sign(asked, origin="http://localhost:8001"),
    "for a site whose name ends like ours": lambda phone, asked, app: phone.sign(
        asked, origin="http://x.localhost"
    ),
    "the answer to a registration": lambda phone, asked, app: phone.sign(asked, type="webauthn.create"),
    "nobody looked at the phone": lambda phone, asked, app: phone.sign(asked, flags=PRESENT),
    "nobody touched the phone": lambda phone, asked, app: phone.sign(asked, flags=4),
    "a challenge of its own": lambda phone, asked, app: phone.sign({**asked, "challenge": "A" * 75}),
    "an empty challenge": lambda phone, asked, app: phone.sign({**asked, "challenge": ""}),
    "a challenge that was asked for something else": lambda phone, asked, app: phone.sign(
        _other_challenge(app)
    ),
    "an unknown passkey": lambda phone, asked, app: Phone(number=9).sign(asked),
    "the same number with another key": lambda phone, asked, app: Phone().sign(asked),
    "no JSON": lambda phone, asked, app: "{",
    "nothing": lambda phone, asked, app: "",
    "a list": lambda phone, asked, app: "[]",
    "a deep one": lambda phone, asked, app: "[" * 50_000,
    "no parts": lambda phone, asked, app: json.dumps({"id": "AQ", "rawId": "AQ", "response": {}}),
}


def _other_challenge(app: Flask) -> dict[str, Any]:
    client = browser(app)
    sign_in(client, "ada")
    return options(client.get("/proof"))


@pytest.mark.parametrize("what", FORGED)
def test_what_is_no_answer_of_the_phone_lets_nobody_in(app: Flask, enrolled: Phone, what: str) -> None:
    client = browser(app)
    answer = FORGED[what](enrolled, options(client.get("/sign-in")), app)
    assert come_in(client, answer) == 401
    assert not is_in(client)


@pytest.mark.parametrize(("age", "status"), [(890, 303), (910, 401), (-5, 401)])
def test_a_challenge_is_answered_within_a_quarter_of_an_hour(
    app: Flask, enrolled: Phone, monkeypatch: pytest.MonkeyPatch, age: float, status: int
) -> None:
    answer, now = enrolled.sign(options(browser(app).get("/sign-in"))), time.time()
    monkeypatch.setattr(time, "time", lambda: now + age)
    assert come_in(browser(app), answer) == status


def test_a_passkey_of_another_name_of_ours_is_not_taken(app: Flask, enrolled: Phone) -> None:
    app.config["ALLOWED_HOSTS"] = frozenset({"jobs.example.org"})
    client, base = browser(app), "https://jobs.example.org"
    enrolled.host, enrolled.origin = "jobs.example.org", base
    asked = options(client.get("/sign-in", base_url=base))
    answer = client.post("/sign-in/passkey", data={"passkey": enrolled.sign(asked)}, base_url=base)
    assert (asked["rpId"], answer.status_code) == ("jobs.example.org", 401)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "[::1]:8000", "[::1]", "127.0.0.1"])
def test_under_a_number_no_passkey_is_offered(app: Flask, enrolled: Phone, host: str) -> None:
    page = browser(app).get("/sign-in", headers={"Host": host}).text
    assert "data-passkey" not in page and "passkeys.js" not in page and 'type="password"' in page


def test_a_counter_that_stands_still_is_a_copy(app: Flask, enrolled: Phone) -> None:
    for counter, status in ((7, 303), (7, 401), (6, 401), (0, 401), (8, 303)):
        enrolled.counter = counter
        assert come_in(browser(app), enrolled.sign(options(browser(app).get("/sign-in")))) == status, counter


def test_a_disabled_account_does_not_come_in_and_hears_what_everybody_hears(
    app: Flask, enrolled: Phone
) -> None:
    client = browser(app)
    change(app, 1, disabled_at=time.time())
    answer = client.post("/sign-in/passkey", data={"passkey": enrolled.sign(options(client.get("/sign-in")))})
    unknown = client.post("/sign-in/passkey", data={"passkey": "{}"})
    assert answer.status_code == unknown.status_code == 401
    assert ("did not let you in" in answer.text) and ("did not let you in" in unknown.text)


def test_a_proof_takes_the_passkey_of_the_account_and_of_nobody_else(app: Flask, enrolled: Phone) -> None:
    make(app, "eve")
    eves, client = enrol(app, "eve", number=2), browser(app)
    sign_in(client, "ada")
    asked = options(client.get("/proof?next=/servers"))
    assert [one["id"] for one in asked["allowCredentials"]] == ["AQEBAQEBAQEBAQEBAQEBAQ"]
    form = {"next": "/servers", "passkey": eves.sign(asked)}
    assert client.post("/proof/passkey", data=form).status_code == 403
    before = client.get_cookie("remoteweb").value  # type: ignore[union-attr]
    answer = client.post("/proof/passkey", data={**form, "passkey": enrolled.sign(asked)})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/servers")
    assert client.get_cookie("remoteweb").value != before  # type: ignore[union-attr]


def test_an_account_has_several_and_keeps_its_last_way_in(app: Flask, enrolled: Phone) -> None:
    other, client = enrol(app, "ada", number=2), browser(app)
    come_in(client, other.sign(options(client.get("/sign-in"))))
    client.post("/account/password/remove")
    assert client.post("/account/passkeys/1/remove").status_code == 303
    client.post("/account/passkeys/2/remove")
    with app.app_context():
        assert [one.id for one in db.session.scalars(db.select(Passkey))] == [2]
    assert come_in(browser(app), enrolled.sign(options(browser(app).get("/sign-in")))) == 401
    assert come_in(browser(app), other.sign(options(browser(app).get("/sign-in")))) == 303


def test_nobody_removes_the_passkey_of_another(app: Flask, enrolled: Phone) -> None:
    make(app, "eve")
    client = browser(app)
    sign_in(client, "eve")
    client.post("/account/passkeys/1/remove")
    assert come_in(browser(app), enrolled.sign(options(browser(app).get("/sign-in")))) == 303


def test_the_same_passkey_is_added_once(app: Flask, enrolled: Phone) -> None:
    client = browser(app)
    sign_in(client, "ada")
    again = {"passkey": enrolled.make(options(client.get("/account/passkey")))}
    assert client.post("/account/passkey", data=again).status_code == 422


def test_looking_at_the_page_stores_nothing(app: Flask, enrolled: Phone) -> None:
    with app.app_context():
        before = len(db.session.scalars(db.select(Entry)).all())
    browser(app).get("/sign-in")
    with app.app_context():
        assert len(db.session.scalars(db.select(Entry)).all()) == before
        whats = [(row.who, row.what) for row in db.session.scalars(db.select(Audit))]
    assert ("ada", "added a passkey") in whats
