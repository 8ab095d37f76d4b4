"""What is hard to take back is done only by who has just proved that it is the person."""

import time

import pytest
from flask import Flask
from flask.testing import FlaskClient

from remoteweb import access, viewer
from remoteweb.access import proof
from remoteweb.access.onward import onward
from remoteweb.accounts import Session
from remoteweb.database import db

FORM = {"Referer": "http://localhost/servers?app=a"}


@pytest.fixture(autouse=True)  # before anybody has looked: later the app takes no more views
def guarded(app: Flask) -> list[str]:
    """What the view behind the proof has done."""
    done: list[str] = []

    @app.route("/guarded", methods=["GET", "POST"])
    @proof.required
    def guarded_view() -> str:
        done.append(viewer.current().name)
        return "done"

    return done


def grow_old(app: Flask, seconds: float) -> None:
    with app.app_context():
        db.session.execute(db.update(Session).values(proved_at=time.time() - seconds))
        db.session.commit()


def test_who_has_just_come_in_need_not_prove_it_again(client: FlaskClient, guarded: list[str]) -> None:
    assert client.post("/guarded").text == "done"


@pytest.mark.parametrize(("age", "is_done"), [(890, True), (910, False)])
def test_a_proof_holds_for_a_quarter_of_an_hour(
    app: Flask, client: FlaskClient, guarded: list[str], age: float, is_done: bool
) -> None:
    grow_old(app, age)
    client.post("/guarded")
    assert bool(guarded) is is_done


def test_a_form_without_a_proof_leads_to_one_and_back_to_its_page(
    app: Flask, client: FlaskClient, guarded: list[str]
) -> None:
    grow_old(app, 1000)
    answer = client.post("/guarded", headers=FORM)
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/proof?next=/servers?app%3Da"
    assert 'href="/servers?app=a"' in client.get(answer.headers["Location"]).text
    assert guarded == []


def test_a_page_without_a_proof_leads_to_one_and_back_to_itself(
    app: Flask, client: FlaskClient, guarded: list[str]
) -> None:
    grow_old(app, 1000)
    assert client.get("/guarded?x=1").headers["Location"] == "/proof?next=/guarded?x%3D1"
    assert guarded == []


def test_a_part_of_an_open_page_leads_the_whole_page_there(
    app: Flask, client: FlaskClient, guarded: list[str]
) -> None:
    grow_old(app, 1000)
    answer = client.post("/guarded", headers={**FORM, "HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (403, "/proof?next=/servers?app%3Da")
    assert guarded == []


def test_a_fresh_link_is_a_proof(app: Flask, client: FlaskClient, guarded: list[str]) -> None:
    grow_old(app, 1000)
    with app.app_context():
        client.get(access.new_link("http://localhost"))
    assert client.post("/guarded").text == "done"


def test_a_terminal_need_not_prove_it(app: Flask) -> None:
    with app.app_context():
        assert proof.is_fresh()


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/jobs\r\nSet-Cookie: a=b",
        "/" + "a" * 3000,
        "",
        None,
    ],
)
def test_one_is_led_on_to_no_other_site(elsewhere: str | None) -> None:
    assert onward(elsewhere) == "/"


@pytest.mark.parametrize("path", ["/", "/jobs/1", "/?q=a%20b&view=failed", "/servers?app=a#x"])
def test_one_is_led_on_to_a_page_of_ours(path: str) -> None:
    assert onward(path) == path


@pytest.mark.parametrize(
    "referer", ["https://evil.example/x", "http://localhost:81/x", "http://[::1", "", "x"]
)
def test_what_a_foreign_page_sends_leads_back_to_the_list(
    app: Flask, client: FlaskClient, guarded: list[str], referer: str
) -> None:
    grow_old(app, 1000)
    assert client.post("/guarded", headers={"Referer": referer}).headers["Location"] == "/proof?next=/"
