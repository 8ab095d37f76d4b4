"""A served app and a phone in front of it. Every test ends by asking whether the browser complained of anything."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page
from web import rows
from web.browsed import browsed
from web.made_once import app, migrated

from remoteweb import access
from remoteweb.database import db
from remoteweb.models import Job, Source

__all__ = ["app", "migrated"]

WATCH_CSP = "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    with browsed(app) as port:
        yield f"http://127.0.0.1:{port}"


class Jobs:
    """Rows, made while the browser looks."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        with app.app_context():
            self.source = rows.source(rows.server()).id

    def make(self, name: str, state: str = "running", **columns: Any) -> int:
        with self.app.app_context():
            return rows.job(db.session.get_one(Source, self.source), name, state, **columns).id

    def change(self, job: int, **columns: Any) -> None:
        with self.app.app_context():
            rows.change(db.session.get_one(Job, job), **columns)


@pytest.fixture
def jobs(app: Flask) -> Jobs:
    return Jobs(app)


Open = Callable[..., Page]


@pytest.fixture
def excused() -> list[str]:
    """What the browser may complain of in this test: pieces of its text."""
    return []


@pytest.fixture
def phone(chromium: Browser, app: Flask, address: str, excused: list[str]) -> Iterator[Open]:
    """`phone(path, width=390, scheme="light", scripts=True)`: a page, let in, and watched."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def open_page(path: str = "/", width: int = 390, scheme: str = "light", scripts: bool = True) -> Page:
        context = chromium.new_context(
            base_url=address,
            viewport={"width": width, "height": 844},
            color_scheme=scheme,  # type: ignore[arg-type]
            java_script_enabled=scripts,
            has_touch=width < 900,
            timezone_id="Europe/Zurich",
            locale="en-GB",
        )
        contexts.append(context)
        context.add_init_script(WATCH_CSP)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        with app.app_context():
            page.goto(access.new_link(address))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in complaints if not any(piece in text for piece in excused)] == []
