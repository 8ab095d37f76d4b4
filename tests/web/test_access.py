"""Who is let in, from where, and that nothing of it can be read anywhere."""

import logging
import re
import time

import pytest
from flask import Flask
from flask.testing import FlaskClient

from remoteweb import access
from remoteweb.access import OPEN
from remoteweb.accounts import Entry, Session
from remoteweb.database import db


def new_link(app: Flask, base_url: str = "http://localhost") -> str:
    with app.app_context():
        return access.new_link(base_url)


def entries(app: Flask) -> list[Entry]:
    with app.app_context():
        return list(db.session.scalars(db.select(Entry)))


def test_every_route_but_the_open_ones_is_closed_to_a_stranger(app: Flask, anonymous: FlaskClient) -> None:
    with app.test_request_context():
        urls = app.url_map.bind("localhost")
        tried = set()
        for rule in app.url_map.iter_rules():
            values = {
                name: 1 if "Integer" in type(one).__name__ else "x" for name, one in rule._converters.items()
            }
            for method in sorted(rule.methods or ()):
                answer = anonymous.open(urls.build(rule.endpoint, values, method), method=method)
                if rule.endpoint not in OPEN:
                    assert answer.status_code == 401, (rule, method)
                    tried.add(rule.endpoint)
    assert sorted(OPEN) == [
        "access.accept",
        "access.enter",
        "access.invited",
        "access.sign_in",
        "access.with_code",
        "access.with_passkey",
        "access.with_password",
        "healthz",
        "readyz",
        "static",
    ]
    assert tried


@pytest.mark.parametrize("path", ["/", "/no/such/page", "/enter", "/enter/", "/%00", "//localhost/"])
def test_a_stranger_is_told_how_to_get_in_whatever_the_address(anonymous: FlaskClient, path: str) -> None:
    answer = anonymous.get(path)
    assert answer.status_code == 401
    assert "remoteweb link" in answer.text


@pytest.mark.parametrize(
    ("host", "command"),
    [
        ("localhost:8000", ">remoteweb link<"),
        ("[::1]:8001", ">remoteweb link --port 8001<"),
        ("localhost", ">remoteweb link<"),
    ],
)
def test_the_command_is_the_one_for_the_port_that_the_browser_sees(
    app: Flask, host: str, command: str
) -> None:
    assert command in app.test_client().get("/", headers={"Host": host}).text


def test_a_link_lets_a_browser_in_and_redirects(anonymous: FlaskClient, app: Flask) -> None:
    answer = anonymous.get(new_link(app))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert anonymous.get("/").status_code != 401


def test_a_link_works_once(app: Flask) -> None:
    link = new_link(app)
    assert app.test_client().get(link).status_code == 303
    second = app.test_client()
    answer = second.get(link)
    assert answer.status_code == 401
    assert "used already" in answer.text
    assert second.get("/").status_code == 401


def test_a_used_link_does_not_turn_away_the_browser_that_used_it(app: Flask, anonymous: FlaskClient) -> None:
    link = new_link(app)
    anonymous.get(link)
    assert anonymous.get(link).status_code == 303
    assert anonymous.get("/").status_code != 401


@pytest.mark.parametrize(("age", "status"), [(3590, 303), (3610, 401)])
def test_a_link_works_for_an_hour(
    app: Flask, anonymous: FlaskClient, monkeypatch: pytest.MonkeyPatch, age: int, status: int
) -> None:
    link, later = new_link(app), time.time() + age
    monkeypatch.setattr(time, "time", lambda: later)
    assert anonymous.get(link).status_code == status


@pytest.mark.parametrize(("days", "let_in"), [(364, True), (366, False)])
def test_a_cookie_works_for_a_year(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, days: int, let_in: bool
) -> None:
    later = time.time() + days * 86400
    cookie = client.get_cookie("remoteweb")
    assert cookie is not None
    keeper = app.test_client()  # one that does not throw the cookie away by itself
    keeper.set_cookie("remoteweb", cookie.value)
    monkeypatch.setattr(time, "time", lambda: later)
    assert (keeper.get("/").status_code != 401) is let_in


@pytest.mark.parametrize("how", [{"method": "HEAD"}, {"headers": {"Sec-Purpose": "prefetch;prerender"}}])
def test_looking_ahead_does_not_use_up_a_link(
    app: Flask, anonymous: FlaskClient, how: dict[str, object]
) -> None:
    link = new_link(app)
    answer = anonymous.open(link, **how)
    assert "Set-Cookie" not in answer.headers
    assert anonymous.get(link).status_code == 303


def test_the_cookie_is_hidden_from_scripts_and_from_other_sites(app: Flask, anonymous: FlaskClient) -> None:
    cookie = anonymous.get(new_link(app)).headers["Set-Cookie"]
    assert {"HttpOnly", "Path=/", "SameSite=Lax", "Max-Age=31536000"} <= set(cookie.split("; "))
    assert len(re.match("remoteweb=([^;]+);", cookie)[1]) == 43  # type: ignore[index]  256 bits
    secure = app.test_client().get(new_link(app), base_url="https://localhost").headers["Set-Cookie"]
    assert "Secure" in secure.split("; ")


def test_two_remotewebs_on_one_host_do_not_throw_each_others_browser_out(app: Flask) -> None:
    browser = app.test_client()
    for port in (8000, 8001):
        base = f"http://localhost:{port}"
        assert browser.get(new_link(app, base), base_url=base).status_code == 303
    assert all(
        browser.get("/", base_url=f"http://localhost:{port}").status_code != 401 for port in (8000, 8001)
    )
    assert browser.get("/", base_url="http://localhost:8002").status_code == 401


def test_only_digests_are_stored(app: Flask, client: FlaskClient) -> None:
    unused = new_link(app)
    cookie = client.get_cookie("remoteweb")
    assert cookie is not None
    with app.app_context():
        sessions = list(db.session.scalars(db.select(Session.digest)))
    assert len(sessions) == 1
    stored = " ".join([*sessions, *(entry.digest for entry in entries(app))])
    assert cookie.value not in stored
    assert unused.rpartition("/")[2] not in stored
    assert sorted(entry.kind for entry in entries(app)) == ["link", "link"]


def test_old_links_are_swept_when_a_new_one_is_made(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    new_link(app)
    later = time.time() + 3610
    monkeypatch.setattr(time, "time", lambda: later)
    new_link(app)
    assert len(entries(app)) == 1


def test_a_link_is_no_cookie_and_a_cookie_is_no_link(app: Flask, client: FlaskClient) -> None:
    cookie, link = client.get_cookie("remoteweb"), new_link(app)
    assert cookie is not None
    stranger = app.test_client()
    stranger.set_cookie("remoteweb", link.rpartition("/")[2])
    assert stranger.get("/").status_code == 401
    assert app.test_client().get(f"/enter/{cookie.value}").status_code == 401


@pytest.mark.parametrize("value", ["", "x", "é", "\x00", "a" * 4000, "../../secret", "' OR 1=1 --"])
def test_a_made_up_cookie_or_token_is_refused(app: Flask, value: str) -> None:
    stranger = app.test_client()
    stranger.set_cookie("remoteweb", value)
    assert stranger.get("/").status_code == 401
    assert stranger.get("/enter/" + value.replace("/", "%2F")).status_code == 401


def test_an_open_page_learns_that_it_is_over(anonymous: FlaskClient) -> None:
    answer = anonymous.get("/jobs/changes", headers={"HX-Request": "true", "HX-Request-Type": "partial"})
    assert (answer.status_code, answer.headers["HX-Refresh"]) == (401, "true")
    assert "HX-PTag" not in answer.headers  # it would be adopted, and changes missed


HOSTS = {
    "localhost": True,
    "localhost:8000": True,
    "LOCALHOST:8000": True,
    "127.0.0.1:8000": True,
    "[::1]:8000": True,
    "[::1]": True,
    "evil.example": False,
    "evil.example:8000": False,
    "localhost.evil.example": False,
    "evil.example#localhost": False,
    "user@localhost": False,
    "localhost:8000:8000": False,
    "localhost:": False,
    "127.0.0.2": False,
    "[::2]:8000": False,
    "jobs.example.org": True,
    "jobs.example.org:1": True,
    "mine.example.org:8443": True,
    "mine.example.org": False,
    "": False,
}


@pytest.mark.parametrize("host", HOSTS)
def test_a_foreign_host_is_refused_before_anything_else(app: Flask, host: str) -> None:
    app.config["ALLOWED_HOSTS"] = frozenset({"jobs.example.org", "mine.example.org:8443"})
    answer = app.test_client().get("/", headers={"Host": host})
    assert (answer.status_code != 400) is HOSTS[host]
    if not HOSTS[host]:  # what its page would load or lead to is refused as well
        assert "static/" not in answer.text and "href" not in answer.text


# Of a POST: what the browser said of it, and whether it is let through.
SENDERS = [
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site"}, False),  # another port of localhost
    ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:8000"}, False),
    ({"Sec-Fetch-Site": ""}, False),
    ({"Origin": "http://localhost:8000"}, True),
    ({"Origin": "https://localhost:8000"}, True),  # behind a proxy that adds TLS
    ({"Origin": "http://localhost:8001"}, False),
    ({"Origin": "http://localhost"}, False),
    ({"Origin": "http://evil.example"}, False),
    ({"Origin": "null"}, False),
    ({"Origin": "http://[::1"}, False),
    ({}, False),
]


@pytest.mark.parametrize(("said", "let_through"), SENDERS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_change_is_taken_from_our_own_pages_only(
    app: Flask, client: FlaskClient, said: dict[str, str], let_through: bool, method: str
) -> None:
    browser, base = app.test_client(), "http://localhost:8000"
    browser.get(new_link(app, base), base_url=base)
    answer = browser.open("/no/such/page", method=method, base_url=base, headers=said)
    assert answer.status_code == (404 if let_through else 403)


def test_a_get_from_elsewhere_is_an_ordinary_link(client: FlaskClient) -> None:
    assert client.get("/no/such/page", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 404


def test_the_token_is_in_no_log(app: Flask, anonymous: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    link = new_link(app)
    token = link.rpartition("/")[2]
    with app.app_context():
        db.session.execute(db.text("DROP TABLE entry"))
        db.session.commit()
    with caplog.at_level(logging.DEBUG):
        assert anonymous.get(link).status_code == 503
        app.config["PROPAGATE_EXCEPTIONS"] = False
        app.logger.error("Exception on %s [%s]", f"/enter/{token}", "GET")
        logging.getLogger("werkzeug").info(f'127.0.0.1 - - [now] "GET /enter/{token} HTTP/1.1" 303 -')
        request_line = {"r": f"GET /enter/{token} HTTP/1.1", "U": f"/enter/{token}", "s": 303}
        logging.getLogger("gunicorn.access").info("%(r)s %(U)s %(s)s", request_line)
        app.logger.error("Exception on %s [%s]", f"/invited/{token}", "POST")
    assert len(caplog.records) >= 5
    assert token not in caplog.text
    assert "GET /enter/... HTTP/1.1" in caplog.text
