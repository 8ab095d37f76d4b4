"""Coming in, and being told that it is over, in a real browser."""

from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page
from web.browsed import browsed

from remoteweb import access
from remoteweb.accounts import Session
from remoteweb.database import db

pytestmark = pytest.mark.sqlite


@pytest.fixture
def base(app: Flask) -> Iterator[str]:
    """The app's address, served over a real socket."""
    with browsed(app) as port:
        yield f"http://localhost:{port}"


@pytest.fixture(params=[True, False], ids=["with JavaScript", "without JavaScript"])
def page(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, java_script_enabled=request.param, service_workers="block"
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    # A refused page is told to the console too; anything else would be ours.
    assert [text for text in said if "401 (UNAUTHORIZED)" not in text] == []


def link(app: Flask, base: str) -> str:
    with app.app_context():
        return access.new_link(base)


def test_a_browser_comes_in_by_the_link_and_stays_in(app: Flask, base: str, page: Page) -> None:
    address = link(app, base)
    page.goto(address)
    assert page.url == base + "/"
    page.goto(base + "/servers")
    assert page.locator("h1").inner_text() != "This browser has not been let in"
    page.goto(address)  # from the terminal once more, where it still stands
    assert page.url == base + "/"


def test_a_stranger_reads_how_to_get_in(base: str, page: Page) -> None:
    answer = page.goto(base + "/")
    assert answer is not None
    assert answer.status == 401
    assert "This browser has not been let in" in page.inner_text("main")
    assert "remoteweb link" in page.inner_text("main")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("page", [True], indirect=True, ids=["with JavaScript"])
def test_an_open_page_says_that_its_session_is_over(app: Flask, base: str, page: Page) -> None:
    page.goto(link(app, base))
    with app.app_context():
        db.session.execute(db.delete(Session))
        db.session.commit()
    page.evaluate("htmx.ajax('GET', '/sync', {target: '#main', swap: 'none'})")  # as its poller does
    page.get_by_text("This browser has not been let in").wait_for()
    assert page.url == base + "/"
