"""The account's own page: passwords, codes, recovery codes and browsers; and that each change asks for a fresh proof."""

import html
import re
import time
from base64 import b32decode

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from flask import Flask
from flask.testing import FlaskClient
from web.signing_in import PASSWORD, browser, is_in, make, quick_hashes, said, sign_in  # noqa: F401
from web.terminals import ROOT

from remoteweb.access import proof, sessions, totp
from remoteweb.accounts import Account, Passkey, RecoveryCode, Session
from remoteweb.database import db

CHANGES = [
    "/account/password",
    "/account/password/remove",
    "/account/passkey",
    "/account/passkeys/1/remove",
    "/account/code",
    "/account/code/remove",
    "/account/recovery-codes",
    "/users",
    "/users/1/invite",
    "/users/1/disable",
    "/users/1/enable",
]


@pytest.fixture
def ada(app: Flask) -> FlaskClient:
    """A browser of ada, the administrator, that has just signed in."""
    make(app, "ada")
    client = browser(app)
    sign_in(client, "ada")
    return client


def grow_old(app: Flask) -> None:
    with app.app_context():
        db.session.execute(db.update(Session).values(proved_at=time.time() - proof.SECONDS - 1))
        db.session.commit()


@pytest.mark.parametrize("path", CHANGES)
def test_a_change_of_the_ways_in_asks_for_a_fresh_proof(app: Flask, ada: FlaskClient, path: str) -> None:
    grow_old(app)
    answer = ada.post(path)
    assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (303, "/proof")


def test_a_proof_by_password_gives_a_new_secret_and_leads_on(app: Flask, ada: FlaskClient) -> None:
    grow_old(app)
    old = ada.get_cookie("remoteweb").value  # type: ignore[union-attr]
    assert ada.post("/proof", data={"password": "wrong"}).status_code == 403
    answer = ada.post("/proof", data={"password": PASSWORD, "next": "/account/password"})
    assert answer.headers["Location"] == "/account/password"
    assert ada.get("/account/password").status_code == 200
    thief = browser(app)
    thief.set_cookie("remoteweb", old)
    assert not is_in(thief)


def test_proofs_are_counted_by_session(app: Flask, ada: FlaskClient) -> None:
    other = browser(app)
    sign_in(other, "ada")
    statuses = [ada.post("/proof", data={"password": "wrong"}).status_code for _ in range(11)]
    assert statuses == [403] * 10 + [429]
    assert ada.post("/proof", data={"password": PASSWORD}).status_code == 429
    assert other.post("/proof", data={"password": PASSWORD}).status_code == 303


def test_another_password_ends_all_other_browsers(app: Flask, ada: FlaskClient) -> None:
    other, new = browser(app), "another four unlikely words"
    sign_in(other, "ada")
    assert ada.post("/account/password", data={"password": new, "again": new}).status_code == 303
    assert is_in(ada) and not is_in(other)
    assert [sign_in(browser(app), "ada", word).status_code for word in (PASSWORD, new)] == [401, 303]


@pytest.mark.parametrize(
    ("password", "again"), [("short", "short"), (PASSWORD + "1", PASSWORD + "2"), ("", "")]
)
def test_a_password_that_is_refused_changes_nothing(
    ada: FlaskClient, app: Flask, password: str, again: str
) -> None:
    answer = ada.post("/account/password", data={"password": password, "again": again})
    assert answer.status_code == 422 and said(answer)
    assert sign_in(browser(app), "ada").status_code == 303


def test_without_a_passkey_the_password_stays(app: Flask, ada: FlaskClient) -> None:
    ada.post("/account/password/remove")
    assert "only way in" in ada.get("/account").text
    assert sign_in(browser(app), "ada").status_code == 303


def add_code(app: Flask, client: FlaskClient) -> str:
    """The secret that the app got."""
    page = client.get("/account/code").text
    typed = re.search(r"<pre[^>]*>([A-Z2-7 ]+)<", page)[1]  # type: ignore[index]
    secret = b32decode(typed.replace(" ", "")).hex()
    offer = html.unescape(re.search(r'name="offer" value="([^"]+)"', page)[1])  # type: ignore[index]
    assert client.post("/account/code", data={"offer": offer, "code": "000000"}).status_code == 422
    answer = client.post("/account/code", data={"offer": offer, "code": code_of(secret)})
    assert answer.status_code == 303
    return secret


def code_of(secret: str, later: float = 0.0) -> str:
    return TOTP(bytes.fromhex(secret), 6, SHA1(), 30).generate(int(time.time() + later)).decode()  # noqa: S303  what the apps know


def half(app: Flask, client: FlaskClient, password: str = PASSWORD) -> str:
    answer = sign_in(client, "ada", password)
    return html.unescape(re.search(r'name="half" value="([^"]+)"', answer.text)[1])  # type: ignore[index]


def with_code(client: FlaskClient, half_: str, code: str) -> int:
    return client.post("/sign-in/code", data={"half": half_, "code": code, "next": "/servers"}).status_code


def test_with_a_code_the_password_alone_does_not_let_in(
    app: Flask, ada: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, client = add_code(app, ada), browser(app)
    step = half(app, client)
    assert not is_in(client)
    assert with_code(client, step, "000000") == 401
    assert with_code(client, step, code_of(secret)) == 401  # it was used when it was set up
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    code = code_of(secret)
    assert with_code(client, step, f" {code[:3]} {code[3:]} ") == 303
    assert is_in(client)
    assert with_code(browser(app), step, code) == 401  # nor does it count twice


@pytest.mark.parametrize(("later", "status"), [(-60, 401), (-30, 303), (30, 303), (61, 401)])
def test_a_code_is_that_of_now_or_of_half_a_minute_beside(
    app: Flask, ada: FlaskClient, monkeypatch: pytest.MonkeyPatch, later: float, status: int
) -> None:
    secret, now = add_code(app, ada), time.time()
    monkeypatch.setattr(time, "time", lambda: now // 30 * 30 + 600)
    client = browser(app)
    assert with_code(client, half(app, client), code_of(secret, later)) == status


def test_codes_are_tried_five_times(app: Flask, ada: FlaskClient) -> None:
    add_code(app, ada)
    step = half(app, browser(app))
    statuses = [with_code(browser(app, f"203.0.113.{n}"), step, f"{n:06}") for n in range(7)]
    assert statuses == [401] * 5 + [429] * 2


@pytest.mark.parametrize("step", ["", "x", "WzFd.aaaaaa.bbbb"])
def test_a_code_without_the_password_before_it_is_nothing(app: Flask, ada: FlaskClient, step: str) -> None:
    secret = add_code(app, ada)
    assert with_code(browser(app), step, code_of(secret, 30)) == 401


def test_a_password_that_was_changed_meanwhile_is_no_half_sign_in(app: Flask, ada: FlaskClient) -> None:
    secret, new = add_code(app, ada), "another four unlikely words"
    step = half(app, browser(app))
    ada.post("/account/password", data={"password": new, "again": new})
    assert with_code(browser(app), step, code_of(secret, 30)) == 401


def test_the_codes_secret_lies_encrypted_and_for_this_account_alone(app: Flask, ada: FlaskClient) -> None:
    secret = add_code(app, ada)
    other = make(app, "eve")
    with app.app_context():
        kept = db.session.scalar(db.select(Account.totp).where(Account.id == 1))
        assert kept and secret not in kept
        db.session.execute(db.update(Account).where(Account.id == other).values(totp=kept))
        db.session.commit()
        assert not totp.use(db.session.get_one(Account, other), code_of(secret, 30))  # swapped rows
        db.session.rollback()
        app.config["SECRET_KEY"] = "another secret key of at least 32 characters"
        assert not totp.use(db.session.get_one(Account, 1), code_of(secret, 30))


def test_a_former_secret_key_reads_what_it_made_and_the_new_one_makes_it_anew(
    app: Flask, ada: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, now, client = add_code(app, ada), time.time(), browser(app)
    step = half(app, client)
    app.config["SECRET_KEY_FALLBACKS"] = (app.config["SECRET_KEY"],)
    app.config["SECRET_KEY"] = "another secret key of at least 32 characters"
    monkeypatch.setattr(time, "time", lambda: now + 60)
    assert with_code(client, step, code_of(secret)) == 303, "also in the middle of a sign-in"
    assert is_in(ada)
    app.config["SECRET_KEY_FALLBACKS"] = ()
    monkeypatch.setattr(time, "time", lambda: now + 120)
    client = browser(app)
    assert with_code(browser(app), step, code_of(secret)) == 401, "what the former one signed is nothing now"
    assert with_code(client, half(app, client), code_of(secret)) == 303, "the code's secret was moved"


def test_the_picture_is_for_who_was_offered_it(app: Flask, ada: FlaskClient) -> None:
    page = ada.get("/account/code").text
    path = html.unescape(re.search(r'src="(/account/code.svg[^"]+)"', page)[1])  # type: ignore[index]
    answer = ada.get(path)
    assert (answer.mimetype, answer.headers["Cache-Control"]) == ("image/svg+xml", "no-store")
    assert "<svg" in answer.text and "script" not in answer.text
    make(app, "eve")
    eve = browser(app)
    sign_in(eve, "eve")
    assert eve.get(path).status_code == 404
    assert ada.get("/account/code.svg?offer=made-up").status_code == 404


def recovery_codes(client: FlaskClient) -> list[str]:
    return re.findall(r"<code>([a-z2-7-]{19})</code>", client.post("/account/recovery-codes").text)


def test_recovery_codes_are_shown_once_and_kept_as_digests(app: Flask, ada: FlaskClient) -> None:
    codes = recovery_codes(ada)
    assert len(set(codes)) == 10
    assert "10 of the ones" in ada.get("/account/recovery-codes").text
    with app.app_context():
        kept = " ".join(db.session.scalars(db.select(RecoveryCode.digest)))
    assert not [code for code in codes if code in kept or code.replace("-", "").upper() in kept]


def test_each_recovery_code_lets_in_once_in_the_place_of_the_password(app: Flask, ada: FlaskClient) -> None:
    codes = recovery_codes(ada)
    typed = [codes[0], codes[0], codes[1].upper().replace("-", " "), "aaaa-aaaa-aaaa-aaaa"]
    assert [sign_in(browser(app), "ada", code).status_code for code in typed] == [303, 401, 303, 401]
    make(app, "eve")
    assert sign_in(browser(app), "eve", codes[2]).status_code == 401


def test_where_two_are_asked_for_a_recovery_code_is_one_of_them(app: Flask, ada: FlaskClient) -> None:
    add_code(app, ada)
    code, client = recovery_codes(ada)[0], browser(app)
    assert sign_in(client, "ada", code).status_code == 401
    assert with_code(client, half(app, client), code) == 303
    assert with_code(browser(app), half(app, browser(app)), code) == 401


def test_a_recovery_code_lets_in_alone_once_the_password_is_gone_and_its_code_with_it(
    app: Flask, ada: FlaskClient
) -> None:
    add_code(app, ada)
    code = recovery_codes(ada)[0]
    with app.app_context():
        passkey = Passkey(
            account_id=1, host="localhost", credential_id="x", public_key="x", created_at=time.time()
        )
        db.session.add(passkey)
        db.session.commit()
    assert ada.post("/account/password/remove").status_code == 303
    assert "10 left" in ada.get("/account").text
    assert sign_in(browser(app), "ada", code).headers.get("Location") == "/"


def test_new_recovery_codes_take_the_place_of_the_old_ones(app: Flask, ada: FlaskClient) -> None:
    old = recovery_codes(ada)
    recovery_codes(ada)
    assert sign_in(browser(app), "ada", old[0]).status_code == 401


def test_the_browsers_are_listed_and_each_can_be_signed_out(app: Flask, ada: FlaskClient) -> None:
    agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Mobile/15E148 Safari/604.1"
    other, third = browser(app, "192.0.2.9", agent), browser(app)
    sign_in(other, "ada")
    sign_in(third, "ada")
    page = ada.get("/account").text
    assert "Safari on iPhone" in page and "from 192.0.2.9" in page
    assert "Firefox on Android, this one" in page
    assert ada.post("/account/sessions/2/end").status_code == 303
    assert (is_in(ada), is_in(other), is_in(third)) == (True, False, True)
    ada.post("/account/sessions/end-others")
    assert (is_in(ada), is_in(third)) == (True, False)


def test_nobody_signs_out_the_browser_of_another(app: Flask, ada: FlaskClient) -> None:
    make(app, "eve")
    eve = browser(app)
    sign_in(eve, "eve")
    eve.post("/account/sessions/1/end")
    eve.post("/account/sessions/end-others")
    assert is_in(ada) and is_in(eve)


IDLE = [(13.9, True), (14.1, False)]


@pytest.mark.parametrize(("days", "still_in"), IDLE)
def test_a_browser_that_does_not_look_is_signed_out(
    app: Flask, ada: FlaskClient, monkeypatch: pytest.MonkeyPatch, days: float, still_in: bool
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + days * 86400)
    assert is_in(ada) is still_in


def test_a_browser_is_signed_out_in_the_end_however_often_it_looks(
    app: Flask, ada: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    for day in range(10, 100, 10):
        monkeypatch.setattr(time, "time", lambda day=day: now + day * 86400 - 60)
        assert is_in(ada) is (day <= 90), day


def test_a_look_is_noted_every_few_minutes_and_a_poll_never(
    app: Flask, ada: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen() -> float:
        with app.app_context():
            return db.session.scalars(db.select(Session.seen_at)).one() - now

    with app.app_context():
        now = db.session.scalars(db.select(Session.seen_at)).one()
    polls = [(310, path, 0) for path in ("/changes", "/sync", "/jobs/1/changes", "/servers/logins/1/watch")]
    for later, path, noted in ((290, "/", 0), *polls, (320, "/", 320)):
        monkeypatch.setattr(time, "time", lambda later=later: now + later)
        ada.get(path, headers={"HX-Request": "true"} if path == "/sync" else {})
        assert seen() == noted, path


def test_what_a_page_asks_by_itself_is_known_as_a_poll() -> None:
    templates = [path.read_text() for path in (ROOT / "templates").rglob("*.html")]
    asked = re.compile(r"""hx-get="{{ url_for\('([\w.]+)'[^"]*"(?:{%[^%]*%})? hx-trigger="every """)
    polled = [endpoint for text in templates for endpoint in asked.findall(text)]
    assert len(polled) == sum(text.count('hx-trigger="every') for text in templates)
    assert set(polled) == sessions.POLLS


@pytest.mark.sqlite
def test_a_look_does_not_wait_for_who_writes(app: Flask, ada: FlaskClient) -> None:
    with app.app_context():
        db.session.execute(db.update(Session).values(seen_at=time.time() - 1000))
        db.session.commit()
        with db.engine.connect().execution_options(immediate=True) as writer, writer.begin():
            began = time.monotonic()
            assert is_in(ada)
            assert time.monotonic() - began < 10  # the patience of a writer is 15 s
    with app.app_context():
        assert db.session.scalars(db.select(Session.seen_at)).one() < time.time() - 900
