"""Behind a reverse proxy: who asked and by which scheme is believed from exactly the proxies that are named."""

import sqlite3

import pytest
from flask import Flask, request
from web.terminals import run

from remoteweb import create_app

PUBLIC = "jobs.example.org"


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.setenv("REMOTEWEB_PUBLIC_URL", f"https://{PUBLIC}")
    monkeypatch.setenv("REMOTEWEB_TRUSTED_PROXIES", "1")
    return telling_who_asks(create_app())


def telling_who_asks(app: Flask) -> Flask:
    app.before_request_funcs[None].insert(0, lambda: f"{request.remote_addr} {request.scheme} {request.host}")
    return app


FROM = {
    "one entry": ("203.0.113.7", "203.0.113.7"),
    "what the client made up stands before the proxy's": ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
    "no header": (None, "127.0.0.1"),
}


@pytest.mark.parametrize("case", FROM)
def test_the_address_is_the_one_that_the_nearest_proxy_saw(behind: Flask, case: str) -> None:
    sent, seen = FROM[case]
    headers = {"Host": PUBLIC, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    headers |= {"X-Forwarded-For": sent} if sent else {}
    assert behind.test_client().get("/", headers=headers).text == f"{seen} https {PUBLIC}"


def test_without_a_proxy_nothing_that_a_client_forwards_is_believed(home: object) -> None:
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    answer = telling_who_asks(create_app()).test_client().get("/", headers=headers)
    assert answer.text == "127.0.0.1 http localhost"


@pytest.mark.parametrize(
    ("proto", "status"), [("https", 401), ("http", 400), (None, 400), ("https, http", 400)]
)
def test_under_the_public_name_only_https_is_answered(
    app: Flask, monkeypatch: pytest.MonkeyPatch, proto: str | None, status: int
) -> None:
    monkeypatch.setenv("REMOTEWEB_PUBLIC_URL", f"https://{PUBLIC}")
    monkeypatch.setenv("REMOTEWEB_TRUSTED_PROXIES", "1")
    headers = {"Host": PUBLIC} | ({"X-Forwarded-Proto": proto} if proto else {})
    assert create_app().test_client().get("/", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [(PUBLIC, 200), ("localhost", 200), ("evil.example", 400), (f"{PUBLIC}.evil.example", 400)],
)
def test_the_public_name_is_an_allowed_host(behind: Flask, host: str, status: int) -> None:
    del behind.before_request_funcs[None][0]
    headers = {"Host": host, "X-Forwarded-Proto": "https"}
    assert behind.test_client().get("/healthz", headers=headers).status_code == status


def test_a_printed_link_begins_with_the_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOTEWEB_PUBLIC_URL", f"https://{PUBLIC}")
    assert run("link").stdout.startswith(f"https://{PUBLIC}/enter/")


def test_whoever_asks_for_health_learns_that_it_answers_and_nothing_more(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_database(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("asked")

    monkeypatch.setattr(sqlite3, "connect", no_database)
    answer = app.test_client().get("/healthz")
    assert (answer.status_code, answer.text, answer.mimetype) == (200, "ok\n", "text/plain")
    assert answer.headers["Cache-Control"] == "no-store"
