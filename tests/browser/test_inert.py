"""What servers say is shown and never obeyed: in a real browser, with hostile words in every field that they fill."""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Browser, Frame, Page, Request, Response, expect
from web import hostile, rows
from web.payloads import PAYLOADS, payload
from web.syncing import APP, Registry, sync

from remotejobs.errors import RemoteJobsError
from remoteweb import actions
from remoteweb.database import db
from remoteweb.models import Job, Source

from .conftest import Open
from .test_pages import poll

OURS = re.compile(
    r"/(static/.*|sync|servers|audit|changes|jobs/\d+(/changes|/cancel|/resubmit)?|sources/\d+/(remove|pause|resume)"
    r"|servers/(host-keys|logins/\d+(/watch|/answer)?))?\Z"
)
# What a payload would leave behind if any of it ran, or became an element.
TRACES = """() => [
    ...(window.pwned ? ['a script ran'] : []),
    ...[...document.querySelectorAll('iframe, object, embed, base, link, meta, style, video, math, template, b, i')]
        .filter(e => !e.closest('head') && !e.matches('.group b')).map(e => e.outerHTML.slice(0, 200)),
    ...[...document.querySelectorAll('script')].filter(e => !e.src.startsWith(location.origin + '/static/')).map(String),
    ...[...document.querySelectorAll('[onload], [onerror], [onfocus], [style]')].map(e => e.outerHTML.slice(0, 200)),
    ...[...document.querySelectorAll('img, image')].map(e => e.outerHTML.slice(0, 200)),
    ...(frames.length ? ['a frame'] : []),
]"""


@pytest.fixture
def chromium(desktop_chromium: Browser) -> Browser:
    return desktop_chromium


@dataclass
class Watch:
    """What a page did that it should not have done."""

    page: Page
    found: list[str] = field(default_factory=list)
    answers: list[Response] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", self._on_request)
        self.page.on("response", lambda answer: self.answers.append(answer))
        self.page.on(
            "dialog", lambda dialog: (self.found.append(f"dialog: {dialog.message}"), dialog.dismiss())
        )
        self.page.on("popup", lambda page: self.found.append(f"window: {page.url}"))
        self.page.on("framenavigated", self._on_request)
        self.page.on("download", lambda download: self.found.append(f"download: {download.url}"))

    def _on_request(self, one: Request | Frame) -> None:
        parts, ours = urlsplit(one.url), urlsplit(self.page.url)
        if (parts.scheme, parts.netloc) != (ours.scheme, ours.netloc) or not OURS.match(parts.path):
            self.found.append(f"request: {one.url}")

    def done(self, title: str) -> list[str]:
        self.page.wait_for_load_state("networkidle")
        wrong = [] if bare(self.page.title()) == bare(title) else [f"title: {self.page.title()}"]
        return [*self.found, *wrong, *self.page.evaluate(TRACES)]


@pytest.fixture
def hostile_source(app: Flask) -> Iterator[Source]:
    with app.app_context():
        yield hostile.source()


def as_read(text: str) -> str:
    """As a browser keeps it: an HTML parser drops NUL, and has one kind of line end."""
    return text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")


def bare(title: str) -> str:
    """Browsers have their own ways with white space and control characters in a title."""
    return re.sub("[^!-~]", "", title)


def names(page: Page) -> list[str]:
    return sorted(page.locator(".job .name").evaluate_all("all => all.map(name => name.textContent)"))


def scroll_to_the_end(page: Page, count: int) -> None:
    for _ in range(20):
        if page.locator(".job").count() >= count:
            break
        page.mouse.wheel(0, 20_000)
        page.wait_for_timeout(100)
    expect(page.locator(".job")).to_have_count(count)


def test_in_the_list_and_in_what_comes_by_the_feed(app: Flask, hostile_source: Source, phone: Open) -> None:
    half = len(PAYLOADS) // 2
    first = [hostile.job(hostile_source, number).id for number in range(half)]
    page = phone("/")
    watch = Watch(page)
    assert names(page) == sorted(as_read(payload(number)) for number in range(half))
    for number in range(half, len(PAYLOADS)):
        hostile.job(hostile_source, number)
    poll(page)
    expected = sorted(map(as_read, PAYLOADS))
    expect(page.locator(".job")).to_have_count(len(PAYLOADS))
    assert names(page) == expected
    for id_ in first:  # those that are there are morphed
        rows.change(db.session.get_one(Job, id_), name=payload(id_ + 7), partition=payload(id_ + 8))
    poll(page)
    expect(page.locator(f"#n{first[-1]}")).to_contain_text("<math>")
    renamed = [payload(id_ + 7) for id_ in first] + PAYLOADS[half:]
    assert names(page) == sorted(map(as_read, renamed))
    assert watch.done("Jobs") == []


def test_on_further_pages_without_script(app: Flask, hostile_source: Source, phone: Open) -> None:
    for number in range(len(PAYLOADS)):
        hostile.job(hostile_source, number)
    page = phone("/", scripts=False)
    watch = Watch(page)
    shown = names(page)
    page.get_by_role("link", name="More").click()
    assert sorted([*shown, *names(page)]) == sorted(map(as_read, PAYLOADS))
    assert watch.done("Jobs") == []


def test_on_a_jobs_page_however_it_is_reached(app: Flask, hostile_source: Source, phone: Open) -> None:
    job = hostile.whole_job(hostile_source)
    page = phone("/")
    watch = Watch(page)
    page.locator(f"#j{job.id} .open").click()  # a part of the open page, which brings its title
    expect(page.locator(".title")).to_be_visible()
    _reads_it_all(page)
    rows.change(job, nodes=hostile.ALL + "more", raw=payload(3))
    poll(page)
    expect(page.locator(".fail code")).to_have_text(payload(3))
    _reads_it_all(page)
    page.goto(f"/jobs/{job.id}")
    _reads_it_all(page)
    assert watch.done(f"{hostile.ALL} · Jobs") == []


def _reads_it_all(page: Page) -> None:
    everything = as_read(hostile.ALL)
    for place in (
        ".title",
        ".say",
        ".pending strong",
        ".runs ~ .facts, .facts",
        ".tail pre",
        ".output .say",
        "details pre >> nth=0",
        "details pre >> nth=1",
    ):
        assert everything in page.locator(f"#job {place}").first.text_content(), place


def test_on_the_servers_page_and_in_the_log_of_what_was_done(
    app: Flask, hostile_source: Source, phone: Open
) -> None:
    everything = as_read(hostile.ALL)
    page = phone("/servers")
    watch = Watch(page)
    assert payload(0) in page.locator(".server .name").text_content()
    for place in (
        ".server .state",
        ".source strong",
        ".source .warn",
        ".remove button span",
    ):
        assert everything in page.locator(place).first.text_content(), place
    assert payload(0)[:40] in page.locator("#age .warn").text_content()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert watch.done("Servers") == []
    page.goto("/audit")
    assert page.locator(".time li").count() >= len(PAYLOADS)
    assert "hx-post=/pwned" in page.locator(".time").text_content()
    assert watch.done("What was done") == []


def test_in_what_is_searched_for(app: Flask, hostile_source: Source, phone: Open) -> None:
    hostile.job(hostile_source, 0)
    page = phone("/")
    watch = Watch(page)
    page.locator("#find summary").click()
    for text in PAYLOADS[:40:8]:
        page.locator("#q").fill(text[:100])
        expect(page.locator("#list .nothing span span, #list .job").first).to_be_attached()
    assert watch.done("Jobs") == []
    for text in (payload(0), payload(2), payload(35)):
        page.goto(f"/?q={quote(text[:100])}")
        assert page.locator("#q").input_value() == " ".join(text[:100].split())
        assert watch.done(f"“{text[:100]}” · Jobs") == []


@pytest.mark.parametrize("scripts", [True, False], ids=["with-script", "without"])
def test_in_notes_and_messages(
    app: Flask,
    hostile_source: Source,
    phone: Open,
    scripts: bool,
    monkeypatch: pytest.MonkeyPatch,
    excused: list[str],
) -> None:
    excused.append("400 (BAD REQUEST)")
    everything = as_read(hostile.ALL)
    job = hostile.job(hostile_source, 0, name=hostile.ALL[:200], state="running")
    ended = hostile.job(hostile_source, 1, name="other", state="running")
    page = phone("/", scripts=scripts)
    watch = Watch(page)
    page.locator(f"#c{job.id} button").click()
    if scripts:
        expect(page.locator(".toast span")).to_contain_text("Cancelling </script><script>pwned=1")

    def refuse(*_: object, **__: object) -> None:
        raise RemoteJobsError(hostile.ALL)

    monkeypatch.setattr(actions, "ask", refuse)
    page.locator(f"#c{ended.id} button").click()
    said = page.locator(".toast span" if scripts else "main p").first
    expect(said).to_contain_text("+ADw-script+AD4-")
    assert everything in said.text_content()
    assert watch.done("Jobs" if scripts else "That cannot be used") == []
    page.goto("/servers")
    page.locator(".remove summary").click()
    page.locator(".remove button").click()
    expect(page.locator("[role=status] >> nth=1")).to_contain_text(everything[:500])
    assert watch.done("Servers") == []


def test_as_a_sync_reads_it_from_a_server_nothing_of_it_is_obeyed_and_nothing_turns_or_hides_the_text(
    app: Flask, home: Path, phone: Open
) -> None:
    """The real way: a registry that no honest program would write, read by a real sync."""
    registry = Registry(home)
    for number, text in enumerate(PAYLOADS):
        _hostile_record(registry, f"{number:032x}_1", number, text)
    with app.app_context():
        assert [(one.jobs, one.error) for one in sync([APP]).sources] == [(len(PAYLOADS), "")]
        ids = list(db.session.scalars(db.select(Job.id)))
    page = phone("/")
    watch = Watch(page)
    scroll_to_the_end(page, len(PAYLOADS))
    assert watch.done("Jobs") == []
    for id_ in ids[::8]:
        page.goto(f"/jobs/{id_}")
        shown = page.locator("#job").text_content()
        assert [char for char in shown if deceives(char)] == []
        assert page.evaluate(TRACES) == []
    assert watch.found == []


def deceives(char: str) -> bool:
    """A control character, or a mark that turns the direction of what follows."""
    turns = unicodedata.category(char) == "Cf" and unicodedata.bidirectional(char) not in ("BN", "")
    return turns or (unicodedata.category(char) == "Cc" and char not in "\n\t")


def _hostile_record(registry: Registry, key: str, number: int, text: str) -> None:
    near = [payload(number + step) for step in range(6)]
    asked = hostile.settings() | {
        "name": text,
        "command": near[1],
        "script": "\n".join(near),
        "scheduler": "process",
    }
    (registry.folder / "settings" / f"{key}.json").write_text(json.dumps(asked))
    clean = [one.replace("\n", " ") for one in near]
    registry.fact(
        key, "id", scheduler="process", id=clean[1], host=clean[2], cluster=clean[3], submitted="1700000000"
    )
    registry.fact(key, "start.1", time="1700000001", node=clean[4])
    if number % 2:
        registry.fact(key, "exit.1", time="1700000009", code="3")
        registry.fact(key, "sched.1", source=clean[5], line=clean[0], time="1700000009")
    else:
        registry.fact(key, "gone.1", time="1700000009", why=clean[5])


def test_what_is_not_escaped_would_be_seen_here_and_is_stopped_by_the_second_line(
    app: Flask, phone: Open, excused: list[str]
) -> None:
    """The proof that these tests can fail; and that hx-ignore and the Content-Security-Policy stand behind the escaping."""
    excused.append("")
    app.jinja_env.autoescape, app.jinja_env.bytecode_cache = False, None
    asks = "<i hx-post=/pwned hx-trigger=load>x</i><script>pwned=1</script><b onclick=pwned=1>x</b>"
    with app.app_context():
        rows.job(rows.source(rows.server()), asks, partition="<img src=/pwned>")
    page = phone("/")
    page.locator(".job b").dispatch_event("click")
    watch = Watch(page)
    page.reload()
    found = watch.done("Jobs")
    assert [one for one in found if one.endswith("/pwned")] != []
    assert any("<img src=" in one for one in found) and any("<i hx-post" in one for one in found)
    asked = {(one.request.method, urlsplit(one.url).path) for one in watch.answers}
    assert ("GET", "/pwned") in asked and ("POST", "/pwned") not in asked
    assert page.evaluate("window.pwned") is None
