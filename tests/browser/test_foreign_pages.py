"""Another page in the same browser, which is signed in here: it reads nothing, changes nothing, and shows nothing of ours.

From another port of this machine (the same site, so the cookie goes along) and under another name (another site).
"""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from browser.conftest import Jobs, Open
from flask import Flask
from playwright.sync_api import Page

from remoteweb import access
from remoteweb.database import db
from remoteweb.models import Action, SyncRun


class _Evil(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>evil</title><body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Evil)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["127.0.0.1", "evil.localhost"])
def evil(request: pytest.FixtureRequest, port: int, phone: Open, jobs: Jobs) -> Page:
    """A foreign page beside a signed-in one."""
    jobs.make("canary-job")
    page: Page = phone().context.new_page()
    page.set_default_timeout(10_000)
    page.goto(f"http://{request.param}:{port}/")
    return page


def done(app: Flask) -> list[str]:
    """What was asked for here."""
    with app.app_context():
        asked = [action.kind for action in db.session.scalars(db.select(Action))]
        return asked + ["sync" for _ in db.session.scalars(db.select(SyncRun))]


# A form as ours are, sent by its page: the answer replaces the page, or goes into a frame or a window.
FORM = """([address, target]) => {
  const form = document.createElement('form');
  form.method = 'post'; form.action = address; form.target = target;
  for (const [name, value] of [['idem_key', 'key-of-a-foreign-page'], ['seen', '1']]) {
    const input = document.createElement('input'); input.name = name; input.value = value; form.append(input);
  }
  document.body.append(form); form.submit();
}"""
FETCH = """async ([address, options]) => {
  try { const answer = await fetch(address, {credentials: 'include', ...options});
        return [answer.type, answer.status, await answer.text()]; }
  catch (error) { return ['error', 0, '']; }
}"""
PLAIN = {"Content-Type": "application/x-www-form-urlencoded"}
FETCHES = [
    {"mode": "no-cors"},
    {"mode": "cors"},
    {"mode": "no-cors", "method": "POST", "body": "idem_key=key-of-fetch&seen=1", "headers": PLAIN},
    {"mode": "cors", "method": "POST", "body": "idem_key=key-of-fetch&seen=1", "headers": PLAIN},
    {"mode": "cors", "method": "POST", "headers": {"HX-Request": "true"}},  # as htmx sends it
    {"mode": "cors", "method": "PUT"},
]


@pytest.mark.parametrize("path", ["/jobs/1/cancel", "/sync"])
def test_a_form_of_a_foreign_page_does_nothing(app: Flask, evil: Page, address: str, path: str) -> None:
    with evil.expect_navigation() as there:
        evil.evaluate(FORM, [address + path, "_self"])
    assert there.value.status in (401, 403)
    assert done(app) == []
    assert "canary-job" not in evil.content()


def test_without_the_look_at_where_it_comes_from_the_form_would_cancel(
    app: Flask, evil: Page, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the test above can fail. From another site the cookie stays away as well: there are two walls, here only one."""
    monkeypatch.setattr(access, "is_our_page", lambda request: True)
    is_same_site = "//127.0.0.1:" in evil.url
    with evil.expect_navigation():
        evil.evaluate(FORM, [f"{address}/jobs/1/cancel", "_self"])
    assert done(app) == (["cancel"] if is_same_site else [])


def test_a_script_of_a_foreign_page_reads_nothing_and_does_nothing(
    app: Flask, evil: Page, address: str
) -> None:
    for path in ("/", "/jobs/1", "/changes", "/jobs/1/cancel", "/sync"):
        for options in FETCHES:
            kind, status, text = evil.evaluate(FETCH, [address + path, options])
            assert (kind, status, text) in (("opaque", 0, ""), ("error", 0, "")), (path, options)
    assert done(app) == []


PICTURE = """address => new Promise(done => {
  const picture = new Image(); picture.onload = () => done('shown'); picture.onerror = () => done('refused');
  picture.src = address; })"""
SCRIPT = """address => new Promise(done => {
  const script = document.createElement('script'); script.onload = () => done('ran'); script.onerror = () => done('refused');
  script.src = address; document.body.append(script); })"""


@pytest.mark.parametrize("path", ["/", "/jobs/1/cancel", "/sync", "/changes"])
def test_no_foreign_page_puts_ours_in_as_a_picture_or_a_script(
    app: Flask, evil: Page, address: str, path: str
) -> None:
    assert evil.evaluate(PICTURE, address + path) == "refused"
    assert evil.evaluate(SCRIPT, address + path) == "refused"
    assert done(app) == []


def test_no_foreign_page_frames_ours(evil: Page, address: str) -> None:
    evil.evaluate(
        """address => new Promise(done => { const frame = document.createElement('iframe'); frame.onload = done;
        frame.src = address; document.body.append(frame); })""",
        address,
    )
    framed = evil.frames[1]
    assert str(framed.evaluate("location.href")).startswith("chrome-error:")
    assert "canary-job" not in framed.content()


def test_a_foreign_page_keeps_no_hold_of_a_window_of_ours(app: Flask, evil: Page, address: str) -> None:
    with evil.context.expect_page() as opened:
        evil.evaluate("address => { window.ours = window.open(address) }", address)
    ours = opened.value
    ours.wait_for_load_state()
    evil.wait_for_function("window.ours.closed")  # to its opener it is gone
    assert ours.evaluate("window.opener") is None
    assert done(app) == []
