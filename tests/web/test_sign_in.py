"""Signing in by password, and what a stranger learns by trying: nothing."""

import time
from unittest import mock

import pytest
from flask import Flask
from web.signing_in import PASSWORD, browser, change, is_in, make, quick_hashes, said, sign_in  # noqa: F401

from remoteweb.access import passwords, throttle
from remoteweb.accounts import Account, Audit, Session
from remoteweb.database import db


def test_a_name_and_its_password_let_in_and_lead_on(app: Flask) -> None:
    make(app, "ada")
    phone = browser(app)
    answer = sign_in(phone, " Ada ", next="/servers?app=a")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/servers?app=a")
    assert is_in(phone)
    assert "ada" in phone.get("/account").text


def test_one_is_led_on_to_no_other_site(app: Flask) -> None:
    make(app, "ada")
    assert sign_in(browser(app), "ada", next="//evil.example/").headers["Location"] == "/"


def test_a_page_that_needs_a_sign_in_shows_it_in_its_place_and_is_come_back_to(app: Flask) -> None:
    make(app, "ada")
    answer = browser(app).get("/servers?app=a")
    assert answer.status_code == 401
    assert 'name="next" value="/servers?app=a"' in answer.text
    assert 'type="password"' in answer.text


# What is tried, for an account that is there and one that is not.
TRIED = ["ada", "nobody", "disabled", "passwordless", "", "a" * 5000, "ada\x00", "' OR 1=1 --"]


@pytest.mark.parametrize("name", TRIED)
def test_what_a_wrong_password_is_answered_with_does_not_tell_who_there_is(app: Flask, name: str) -> None:
    make(app, "ada")
    change(app, make(app, "disabled"), disabled_at=time.time())
    make(app, "passwordless", password="")
    stranger, expected = browser(app), sign_in(browser(app), "nobody", "wrong password")
    answer = sign_in(stranger, name, "wrong password" if name != "disabled" else PASSWORD)
    assert (answer.status_code, said(answer)) == (401, said(expected))
    assert "no such account, or" in said(answer)
    assert "Set-Cookie" not in answer.headers
    assert {*answer.headers.keys()} == {*expected.headers.keys()}


@pytest.mark.parametrize("name", ["ada", "nobody", "passwordless", "disabled"])
def test_every_try_costs_one_hash_of_the_same_kind(app: Flask, name: str) -> None:
    make(app, "ada")
    make(app, "passwordless", password="")
    change(app, make(app, "disabled"), disabled_at=time.time())
    with mock.patch.object(passwords, "check_password_hash", wraps=passwords.check_password_hash) as check:
        sign_in(browser(app), name, "wrong password")
    assert [call.args[0].rpartition("$")[0].partition("$")[0] for call in check.mock_calls] == [
        passwords.METHOD
    ]


def test_a_password_is_kept_as_a_slow_salted_hash(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert passwords.METHOD == "scrypt:32768:8:3"
    one, other = passwords.hashed(PASSWORD), passwords.hashed(PASSWORD)
    assert one != other and PASSWORD not in one and one.startswith("scrypt:32768:8:3$")
    assert passwords.matches(one, PASSWORD) and not passwords.matches(one, PASSWORD + "x")


def test_the_same_letters_from_another_keyboard_are_the_same_password(app: Flask) -> None:
    make(app, "ada", "Größe im Kühlschrank")
    assert sign_in(browser(app), "ada", "Gro\u0308ße im Ku\u0308hlschrank").status_code == 303


WEAK = {
    "eleven char": "at least 12",
    "x" * 1025: "at most 1024",
    "123456789012": "first that are guessed",
    "abcdefghijkl": "first that are guessed",
    "aaaaaaaaaaaaaaa": "first that are guessed",
    "passwordpassword": "first that are guessed",
    "Password1234!": "first that are guessed",
    "qwertyuiop123": "first that are guessed",
    "1qaz2wsx3edc": "first that are guessed",
    "ada.lovelace1": "mostly a name",
    "remoteweb2026": "mostly a name",
}


@pytest.mark.parametrize("password", WEAK)
def test_a_password_that_is_guessed_first_is_refused_with_a_sentence(password: str) -> None:
    with pytest.raises(passwords.WeakPassword, match=WEAK[password]):
        passwords.refuse_weak(password, "ada.lovelace")


@pytest.mark.parametrize(
    "password",
    [PASSWORD, "lila kuh im regen", "korrekt-pferd-batterie", "密码" * 3 + "correct", "zzyzx road 12"],
)
def test_length_is_what_counts_and_no_rule_of_composition(password: str) -> None:
    passwords.refuse_weak(password, "ada")


def test_a_new_secret_comes_with_each_sign_in_and_the_former_row_goes(app: Flask) -> None:
    make(app, "ada")
    phone = browser(app)
    sign_in(phone, "ada")
    first = phone.get_cookie("remoteweb").value  # type: ignore[union-attr]
    sign_in(phone, "ada")
    assert phone.get_cookie("remoteweb").value != first  # type: ignore[union-attr]
    copy = browser(app)
    copy.set_cookie("remoteweb", first)
    assert not is_in(copy)
    with app.app_context():
        assert len(db.session.scalars(db.select(Session)).all()) == 1


def test_under_a_public_name_the_cookies_go_by_https_to_this_host_alone(app: Flask) -> None:
    app.config["ALLOWED_HOSTS"] = frozenset({"jobs.example.org"})
    make(app, "ada")
    for base in (
        "https://jobs.example.org",
        "http://jobs.example.org",
    ):  # a proxy may not tell that it was https
        form = {"name": "ada", "password": PASSWORD}
        answer = browser(app).post("/sign-in", data=form, base_url=base)
        given = answer.headers.getlist("Set-Cookie")
        assert {cookie.partition("=")[0] for cookie in given} == {
            "__Host-remoteweb",
            "__Host-remoteweb_known",
        }
        for cookie in given:
            assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
            assert "Domain" not in cookie


def test_the_sentence_for_the_next_page_travels_as_safely(app: Flask) -> None:
    app.config["ALLOWED_HOSTS"] = frozenset({"jobs.example.org"})
    make(app, "ada")
    base, phone = "https://jobs.example.org", browser(app)
    phone.post("/sign-in", data={"name": "ada", "password": PASSWORD}, base_url=base)
    given = phone.post("/account/sessions/end-others", base_url=base).headers.getlist("Set-Cookie")
    assert len(given) == 1 and given[0].startswith("__Host-remoteweb_session=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(given[0].split("; "))
    assert "No other browser" in phone.get("/account", base_url=base).text


def test_failures_and_sign_ins_stand_in_the_audit_log_without_what_was_typed(app: Flask) -> None:
    make(app, "ada")
    sign_in(browser(app), "ada", "canary password one")
    sign_in(browser(app), "canary typed as a name", "x")
    phone = browser(app)
    sign_in(phone, "ada")
    phone.post("/sign-out")
    with app.app_context():
        rows = [
            (row.who, row.what, row.subject)
            for row in db.session.scalars(db.select(Audit).order_by(Audit.id))
        ]
    assert rows[-4:] == [
        ("a stranger", "could not sign in", "ada"),
        ("a stranger", "could not sign in", ""),
        ("ada", "signed in", ""),
        ("ada", "signed out", ""),
    ]
    assert "canary" not in str(rows)


def test_a_copied_cookie_is_dead_after_the_sign_out(app: Flask) -> None:
    make(app, "ada")
    phone, thief = browser(app), browser(app)
    sign_in(phone, "ada")
    thief.set_cookie("remoteweb", phone.get_cookie("remoteweb").value)  # type: ignore[union-attr]
    assert is_in(thief)
    answer = phone.post("/sign-out")
    assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'
    assert phone.get_cookie("remoteweb") is None
    assert not is_in(thief) and not is_in(phone)


def hammer(app: Flask, name: str, times: int, address: str = "203.0.113.{}") -> list[int]:
    return [
        sign_in(browser(app, address.format(n)), name, "wrong password").status_code for n in range(times)
    ]


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_an_account_is_tried_ten_times_from_wherever_and_then_it_is_said_until_when(
    app: Flask, name: str
) -> None:
    make(app, "ada")
    assert hammer(app, name, 12) == [401] * 10 + [429] * 2
    answer = sign_in(browser(app, "192.0.2.1"), name)  # also the right one
    assert answer.status_code == 429
    assert said(answer) == "There were too many tries. Try again in 10 minutes."
    assert 500 < int(answer.headers["Retry-After"]) <= 600


def test_one_address_tries_twenty_times_whatever_the_names(app: Flask) -> None:
    statuses = [sign_in(browser(app, "203.0.113.1"), f"name{n}", "wrong").status_code for n in range(22)]
    assert statuses == [401] * 20 + [429] * 2
    assert sign_in(browser(app, "203.0.113.2"), "name1", "wrong").status_code == 401


def test_a_stranger_who_hammers_does_not_lock_out_a_browser_that_is_known(app: Flask) -> None:
    make(app, "ada")
    phone = browser(app, "203.0.113.99")
    sign_in(phone, "ada")
    phone.post("/sign-out")
    hammer(app, "ada", 12)
    hammer(app, "other", 25, "203.0.113.99")  # and from its own address
    assert sign_in(phone, "ada").status_code == 303
    # It is known for this account alone, and has a number of tries of its own.
    assert sign_in(phone, "other", "wrong").status_code == 429
    phone.post("/sign-out")
    assert [sign_in(phone, "ada", "wrong").status_code for _ in range(11)] == [401] * 10 + [429]


def test_a_made_up_known_browser_is_a_stranger(app: Flask) -> None:
    make(app, "ada")
    hammer(app, "ada", 10)
    for value in ("WzEsImEiXQ.aXXXXX.AAAA", "", "x" * 4000):
        forger = browser(app)
        forger.set_cookie("remoteweb_known", value)
        assert sign_in(forger, "ada").status_code == 429


def test_tries_come_back_with_time(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    make(app, "ada")
    hammer(app, "ada", 10)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 601)
    assert [sign_in(browser(app), "ada", "wrong").status_code for _ in range(2)] == [401, 429]


def test_the_right_password_fills_the_accounts_bucket_and_not_the_addresss(app: Flask) -> None:
    make(app, "ada")
    for _ in range(2):
        assert [sign_in(browser(app), "ada", "wrong").status_code for _ in range(8)] == [401] * 8
        assert sign_in(browser(app), "ada").status_code == 303
    assert [sign_in(browser(app), "ada", "wrong").status_code for _ in range(3)] == [401, 401, 429]


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.5", "address 203.0.113.5"),
        ("::ffff:203.0.113.5", "address 203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", "address 2001:db8:1:2::/64"),
        ("fe80::1%eth0", "address fe80::/64"),
        (None, "address ?"),
        ("<script>", "address ?"),
    ],
)
def test_an_address_counts_as_what_one_person_has(address: str | None, key: str) -> None:
    assert throttle.of_address(address) == key


def test_a_guest_sees_who_it_is_a_guest_of(app: Flask) -> None:
    ada = make(app, "ada")
    make(app, "guest", role="guest", guest_of=ada)
    phone = browser(app)
    sign_in(phone, "guest")
    assert "a guest of ada" in phone.get("/account").text
    with app.app_context():
        assert db.session.scalar(db.select(Account).where(Account.name == "guest")).sees == ada  # type: ignore[union-attr]
