"""What a person does with a phone, in a real browser."""

import re
import time

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from remoteweb import sources
from remoteweb.database import begin_writing, db
from remoteweb.models import Action
from remoteweb.tails import Tail

from .conftest import Jobs, Open

LONG = "train-resnet50-imagenet-lr0.003-warmup5-cosine-bs4096-seed"

# Links in running text are exempt: a line of text is as high as it is.
TOO_SMALL = """() => [...document.querySelectorAll('a, button, summary, input:not([type=hidden]), select')]
    .filter(e => e.checkVisibility() && !e.closest('.skip, p'))
    .map(e => ({name: e.id || e.textContent.trim(), box: e.getBoundingClientRect()}))
    .filter(({box}) => box.width < 48 || box.height < 48)
    .map(({name, box}) => `${name}: ${box.width} x ${box.height}`)"""
SPILT = """() => [...document.querySelectorAll('.toast a, .toast button, .pending a, .pending button')]
    .filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"""
# What has the focus in the list, if anything lies over its middle.
COVERED = """() => {
    const it = document.activeElement, {x, y, width, height} = it.getBoundingClientRect();
    const seen = document.elementFromPoint(x + width / 2, y + height / 2);
    return !it.closest('.job') || it.contains(seen) ? '' : it.outerHTML;
}"""
NAMELESS = """() => [...document.querySelectorAll('a, button, summary, input:not([type=hidden]), select')]
    .filter(e => e.checkVisibility())
    .filter(e => !(e.textContent.trim() || e.ariaLabel || e.labels?.length || e.getAttribute('aria-labelledby')))
    .length"""


def poll(page: Page) -> None:
    """The next poll, now: what the timer does every few seconds."""
    page.evaluate(
        "for (const poll of document.querySelectorAll('[hidden][hx-ptag]')) htmx.trigger(poll, 'every')"
    )


def actions(app: Flask) -> list[tuple[str, str]]:
    with app.app_context():
        return [(row.kind, row.state) for row in db.session.scalars(db.select(Action).order_by(Action.id))]


@pytest.mark.parametrize("scripts", [True, False], ids=["with-script", "without"])
def test_a_tap_cancels_and_a_tap_takes_it_back(app: Flask, jobs: Jobs, phone: Open, scripts: bool) -> None:
    jobs.make("train-7")
    page = phone("/", scripts=scripts)
    page.get_by_role("button", name="Cancel train-7").click()
    expect(page.get_by_text("Cancel at next sync")).to_be_visible()
    if scripts:
        expect(page.locator(".toast")).to_contain_text("Cancelling train-7")
    assert actions(app) == [("cancel", "waiting")]
    page.get_by_role("button", name="Undo").last.click()
    expect(page.get_by_role("button", name="Cancel train-7")).to_be_visible()
    expect(page.locator(".toast")).to_contain_text("Undone")
    assert actions(app) == [("cancel", "withdrawn")]


@pytest.mark.parametrize("scripts", [True, False], ids=["with-script", "without"])
def test_a_failed_job_is_run_again_from_its_page(app: Flask, jobs: Jobs, phone: Open, scripts: bool) -> None:
    jobs.make("train-7", "failed", reason="memory")
    page = phone("/", scripts=scripts)
    page.get_by_role("link", name="train-7").click()
    expect(page.get_by_text("It used more memory than it had asked for")).to_be_visible()
    page.locator("#job").get_by_role("button", name="Run again").click()
    expect(page.locator("#job .pending")).to_contain_text("Run again at next sync")
    assert page.url.endswith("/jobs/1")
    assert actions(app) == [("resubmit", "waiting")]
    page.locator("#job").get_by_role("button", name="Undo").last.click()
    expect(page.locator("#job").get_by_role("button", name="Run again")).to_be_visible()
    assert actions(app) == [("resubmit", "withdrawn")]


def test_a_double_tap_is_one_action(app: Flask, jobs: Jobs, phone: Open) -> None:
    jobs.make("train-7")
    page = phone("/")
    page.evaluate("const b = document.querySelector('.act button'); b.click(); b.click(); b.click()")
    expect(page.get_by_text("Cancel at next sync")).to_be_visible()
    assert actions(app) == [("cancel", "waiting")]


def test_a_changed_row_is_morphed_and_keeps_the_focus(jobs: Jobs, phone: Open) -> None:
    job = jobs.make("train-7")
    page = phone("/")
    page.get_by_role("button", name="Cancel train-7").focus()
    jobs.change(job, partition="gpu-long")
    poll(page)
    expect(page.locator(f"#j{job}")).to_contain_text("gpu-long")
    expect(page.get_by_role("button", name="Cancel train-7")).to_be_focused()


def test_a_row_that_changes_its_group_goes_to_its_top_with_the_focus(jobs: Jobs, phone: Open) -> None:
    job = jobs.make("train-7", "queued")
    jobs.make("other")
    page = phone("/")
    page.get_by_role("button", name="Cancel train-7").focus()
    jobs.change(job, state="running")
    poll(page)
    expect(page.locator("#g1 .name")).to_have_text(["train-7", "other"])
    expect(page.locator("#h2")).to_be_hidden()
    expect(page.locator("#h1 .n1")).to_have_text("2")
    expect(page.get_by_role("button", name="Cancel train-7")).to_be_focused()


def test_a_button_never_becomes_the_other_one_under_the_finger(
    app: Flask, jobs: Jobs, phone: Open, excused: list[str]
) -> None:
    excused.append("the form is not connected")
    job = jobs.make("train-7")
    page = phone("/")
    page.evaluate("window.held = document.querySelector('.act button')")
    jobs.change(job, state="failed", ended=time.time())
    poll(page)
    expect(page.get_by_role("button", name="Run again train-7")).to_be_visible()
    assert page.evaluate("held.isConnected") is False
    page.evaluate("held.click()")
    page.wait_for_timeout(300)
    assert actions(app) == []


def test_a_new_row_makes_its_group_appear(jobs: Jobs, phone: Open) -> None:
    page = phone("/")
    expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()
    expect(page.locator("#h1")).to_be_hidden()
    jobs.make("first")
    poll(page)
    expect(page.locator("#g1 .name")).to_have_text(["first"])
    expect(page.locator("#h1")).to_be_visible()
    expect(page.get_by_role("heading", name="No jobs yet")).to_be_hidden()


def test_scrolling_brings_every_row_once_and_a_poll_takes_none_away(jobs: Jobs, phone: Open) -> None:
    ids = [jobs.make(f"job-{i}", "running" if i < 40 else "failed") for i in range(80)]
    page = phone("/")
    expect(page.locator(".job")).to_have_count(30)
    # Further down than what is loaded: it comes with its page, and not twice.
    jobs.change(ids[3], nodes="n1")
    jobs.change(ids[79], state="done", ended=time.time())
    poll(page)
    expect(page.locator("#g0 .job")).to_have_count(29)
    for _ in range(4):
        page.mouse.wheel(0, 20_000)
        page.wait_for_timeout(400)
    expect(page.locator(".job")).to_have_count(80)
    jobs.change(ids[0], nodes="n2")
    poll(page)
    expect(page.locator("#g1 .name").first).to_have_text("job-3")
    expect(page.locator(".job")).to_have_count(80)
    assert page.evaluate("new Set([...document.querySelectorAll('.job')].map(row => row.id)).size") == 80
    assert page.locator("ol ol").count() == 0
    expect(page.locator("#g3 .name")).to_have_text(["job-79"])


def test_a_page_that_fails_leaves_its_link(jobs: Jobs, phone: Open, excused: list[str]) -> None:
    excused.append("500")
    for i in range(35):
        jobs.make(f"job-{i}")
    page = phone("/")
    page.route("**/?after=*", lambda route: route.fulfill(status=500, body=""))
    page.mouse.wheel(0, 20_000)
    page.wait_for_timeout(500)
    expect(page.locator(".job")).to_have_count(30)
    page.unroute("**/?after=*")
    page.get_by_role("link", name="More").click()
    expect(page.locator(".job")).to_have_count(5)


def test_without_script_the_pages_are_links(jobs: Jobs, phone: Open) -> None:
    for i in range(35):
        jobs.make(f"job-{i}")
    page = phone("/", scripts=False)
    page.get_by_role("link", name="More").click()
    expect(page.locator(".job")).to_have_count(5)
    page.get_by_role("link", name="Back to the newest").click()
    expect(page.locator(".job")).to_have_count(30)


def test_back_finds_the_list_as_it_was(jobs: Jobs, phone: Open) -> None:
    for i in range(70):
        jobs.make(f"job-{i}")
    page = phone("/")
    for _ in range(3):
        page.mouse.wheel(0, 20_000)
        page.wait_for_timeout(400)
    expect(page.locator(".job")).to_have_count(70)
    page.get_by_role("link", name="job-10", exact=False).first.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    page.get_by_role("link", name="job-10", exact=False).first.click()
    expect(page.get_by_role("heading", name="job-10")).to_be_visible()
    expect(page.locator("#jobs")).to_be_hidden()
    assert page.url.endswith("/jobs/11") and page.title().startswith("job-10")
    page.go_back()
    expect(page.locator("#jobs")).to_be_visible()
    expect(page.locator(".job")).to_have_count(70)
    expect(page.locator("#job")).to_be_empty()
    assert abs(page.evaluate("scrollY") - before) < 200
    assert page.title() == "Jobs"


def test_the_arrow_leads_back_too(jobs: Jobs, phone: Open) -> None:
    jobs.make("train-7")
    page = phone("/?view=running")
    page.get_by_role("link", name="train-7").click()
    expect(page.get_by_role("heading", name="train-7")).to_be_visible()
    page.locator("#home").click()
    expect(page.locator("#jobs")).to_be_visible()
    assert page.url.endswith("/?view=running")
    page.goto("/jobs/1")
    page.locator("#home").click()
    expect(page.locator("#jobs")).to_be_visible()


def test_a_wide_screen_shows_the_list_at_the_jobs_side(jobs: Jobs, phone: Open) -> None:
    jobs.make("other", "done")
    jobs.make("train-7")
    page = phone("/jobs/2", width=1280)
    expect(page.locator("#jobs .job")).to_have_count(2)
    expect(page.get_by_role("heading", name="train-7")).to_be_visible()
    expect(page.locator("#j2")).to_have_attribute("aria-current", "true")
    page.get_by_role("link", name="other").click()
    expect(page.get_by_role("heading", name="other")).to_be_visible()
    expect(page.locator("#j1")).to_have_attribute("aria-current", "true")
    page.go_back()
    expect(page.get_by_role("heading", name="train-7")).to_be_visible()
    assert page.locator("h1").count() == 1


def test_a_jobs_page_follows_its_job(jobs: Jobs, phone: Open) -> None:
    job = jobs.make("train-7")
    page = phone(f"/jobs/{job}")
    page.get_by_text("Script, as it was kept").click()
    jobs.change(job, state="failed", reason="time_limit", ended=time.time())
    poll(page)
    expect(page.get_by_text("It reached its time limit")).to_be_visible()
    expect(page.get_by_text("#!/bin/sh")).to_be_visible()  # what was opened stays open


def test_what_a_job_printed_comes_after_a_tap_and_begins_at_its_end(jobs: Jobs, phone: Open) -> None:
    job = jobs.make("train-7")
    page = phone(f"/jobs/{job}")
    page.get_by_role("button", name="Show the end of it").click()
    expect(page.get_by_text("it comes with the next sync")).to_be_visible()
    with jobs.app.app_context():
        text = "".join(f"epoch {number}\n" for number in range(500))
        read = {"read_at": time.time(), "text": text, "size": 10**6}
        begin_writing()
        db.session.execute(db.update(Tail).where(Tail.stream == "stdout").values(read))
        db.session.execute(db.update(Tail).where(Tail.stream == "stderr").values(read_at=time.time()))
        db.session.commit()
    expect(page.get_by_text("the end of 1.0 MB")).to_be_visible()
    box, last = page.locator(".tail").bounding_box(), page.locator(".tail pre").bounding_box()
    assert box and last and abs(box["y"] + box["height"] - last["y"] - last["height"]) < 3
    expect(page.get_by_role("button", name="Read it again")).to_be_visible()


def test_limits_that_somebody_types_stay_while_the_page_changes(jobs: Jobs, phone: Open) -> None:
    job = jobs.make("train-7", "failed", scheduler="slurm", reason="time_limit", ended=time.time())
    page = phone(f"/jobs/{job}")
    page.get_by_text("Run again with other limits").click()
    page.get_by_label("Time limit").fill("12")
    jobs.change(job, raw="TIMEOUT")
    poll(page)
    expect(page.locator(".fail code")).to_have_text("TIMEOUT")
    expect(page.get_by_label("Time limit")).to_have_value("12")
    page.get_by_role("button", name="Run again with these").click()
    expect(page.locator(".toast")).to_contain_text("Write the time limit as hours and minutes")
    page.get_by_label("Time limit").fill("12:00")
    page.get_by_role("button", name="Run again with these").click()
    expect(page.locator(".pending strong")).to_contain_text("with time limit 12")


def test_search_narrows_while_typing_and_keeps_the_focus(jobs: Jobs, phone: Open) -> None:
    for name in ("train-1", "train-2", "other"):
        jobs.make(name)
    page = phone("/")
    page.locator("#find summary").click()
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("train", delay=30)
    expect(page.locator(".job")).to_have_count(2)
    expect(page.locator("#q")).to_be_focused()
    assert page.url.endswith("/?q=train")
    jobs.make("train-3")
    jobs.make("other-2")
    poll(page)
    expect(page.locator(".job")).to_have_count(3)
    page.reload()
    expect(page.locator(".job")).to_have_count(3)
    page.locator("#q").fill("no-such")
    expect(page.get_by_text("No job matches “no-such”.", exact=True)).to_be_visible()


def test_without_script_search_and_filters_are_links_and_forms(jobs: Jobs, phone: Open) -> None:
    jobs.make("train-1")
    jobs.make("train-2", "done")
    jobs.make("other")
    page = phone("/", scripts=False)
    page.locator("#find summary").click()
    page.locator("#q").fill("train")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".job")).to_have_count(2)
    page.locator("#chips").get_by_role("link", name="Running").click()
    expect(page.locator(".job .name")).to_have_text(["train-1"])
    assert "q=train" in page.url and "view=running" in page.url


def test_offline_says_so_and_loses_nothing(app: Flask, jobs: Jobs, phone: Open, excused: list[str]) -> None:
    excused += ["ERR_INTERNET_DISCONNECTED", "Failed to fetch"]
    job = jobs.make("train-7")
    page = phone("/")
    expect(page.locator("#offline")).to_be_hidden()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.context.set_offline(True)
    expect(page.locator("#offline")).to_be_visible()
    poll(page)
    page.get_by_role("button", name="Cancel train-7").click()
    page.wait_for_timeout(300)
    assert not [url for url in asked if "/changes" in url]
    expect(page.get_by_role("button", name="Cancel train-7")).to_be_enabled()
    jobs.change(job, partition="gpu-long")
    page.context.set_offline(False)
    expect(page.locator("#offline")).to_be_hidden()
    expect(page.locator(f"#j{job}")).to_contain_text("gpu-long")  # caught up at once
    assert actions(app) == []


def test_nobody_looks_nothing_is_asked(jobs: Jobs, phone: Open) -> None:
    jobs.make("train-7")
    page = phone("/")
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    poll(page)
    page.wait_for_timeout(300)
    assert [url for url in asked if "/static/" not in url] == []  # the browser fetches the icon when it likes
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(500)
    assert [url for url in asked if "/changes" in url]


def test_a_failed_poll_is_said_and_nothing_is_skipped(
    app: Flask, jobs: Jobs, phone: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.make("train-7")
    page = phone("/")
    jobs.change(job, partition="gpu-long")
    page.route("**/changes*", lambda route: route.fulfill(status=204, headers={}))
    poll(page)
    page.wait_for_timeout(300)
    page.unroute("**/changes*")
    poll(page)
    expect(page.locator(f"#j{job}")).to_contain_text("gpu-long")


def test_times_are_said_in_the_phones_zone_and_ages_count_on(jobs: Jobs, phone: Open) -> None:
    ended = time.time() - 125
    job = jobs.make("train-7", "done", ended=ended)
    page = phone(f"/jobs/{job}")
    step = page.locator(".time li").last.locator("time")
    assert step.get_attribute("datetime") == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ended))
    expected = page.evaluate(
        "t => new Intl.DateTimeFormat('en-GB', {hour: '2-digit', minute: '2-digit', timeZone: 'Europe/Zurich'}).format(t * 1000)",
        ended,
    )
    assert (step.text_content() or "").endswith(expected)
    expect(page.locator(".state .ago")).to_have_text("2 min ago")
    plain = phone(f"/jobs/{job}", scripts=False)
    assert re.fullmatch(r"\d+ \w+ \d\d:\d\d UTC", plain.locator(".time li time").last.text_content() or "")


def test_a_notes_time_is_up_but_the_row_still_offers_undo(jobs: Jobs, phone: Open) -> None:
    jobs.make("train-7")
    page = phone("/")
    page.get_by_role("button", name="Cancel train-7").click()
    expect(page.locator(".toast")).to_be_visible()
    expect(page.locator(".toast")).to_have_count(0, timeout=12_000)
    expect(page.locator(".pending").get_by_role("button", name="Undo")).to_be_visible()


def test_the_row_tells_what_became_of_a_tap(app: Flask, jobs: Jobs, phone: Open) -> None:
    jobs.make("train-7")
    page = phone("/")
    page.get_by_role("button", name="Cancel train-7").click()
    page.locator(".pending").get_by_role("button", name="Send now").click()
    expect(page.locator(".toast")).to_contain_text("being sent")
    for state, said in (
        ("sending", "The cancel is being sent"),
        ("unknown", "not confirmed yet"),
        ("refused", "Refused: No."),
    ):
        with app.app_context():
            begin_writing()
            action = db.session.scalars(db.select(Action)).one()
            action.state, action.outcome, action.ended_at = state, "No.", time.time()
            db.session.commit()
        jobs.change(1, raw=state)
        poll(page)
        expect(page.locator("#j1")).to_contain_text(said)


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("path", ["/", "/jobs/1", "/servers", "/?q=nothing-like-it"])
def test_nothing_scrolls_sideways_and_every_target_can_be_hit(
    jobs: Jobs, phone: Open, path: str, width: int
) -> None:
    jobs.make(LONG + "17", "failed", reason="time_limit", nodes="n" * 90, raw="W" * 60, hash="a" * 32)
    jobs.make(LONG + "18", "running", limit=9000, partition="p" * 40, hash="a" * 32, n=2)
    jobs.make("x" * 200, "queued", reason="a_reason_of_the_scheduler_that_is_long_" * 3)
    page = phone(path, width=width)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        small = page.evaluate(TOO_SMALL)
        assert small == []
        cut = page.evaluate(
            "() => [...document.querySelectorAll('.name, .title')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
        )
        assert cut == 0


@pytest.mark.parametrize("path", ["/", "/jobs/1", "/servers"])
def test_a_page_has_its_landmarks_and_names(jobs: Jobs, phone: Open, path: str) -> None:
    jobs.make("train-7")
    page = phone(path)
    assert page.locator("h1").count() == 1 and page.locator("main").count() == 1
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    nameless = page.evaluate(NAMELESS)
    assert nameless == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("width", [320, 1280])
def test_the_bar_covers_nothing_that_the_keyboard_comes_to(jobs: Jobs, phone: Open, width: int) -> None:
    for i in range(12):
        jobs.make(f"{LONG}{i}", "running" if i % 2 else "failed")
    page = phone("/", width=width)
    for key in ("Tab", "Shift+Tab"):
        for _ in range(26):
            page.keyboard.press(key)
            assert page.evaluate(COVERED) == ""


def test_undo_and_send_stand_side_by_side_on_the_smallest_screen(jobs: Jobs, phone: Open) -> None:
    jobs.make("train-7", "failed")
    page = phone("/", width=320)
    page.get_by_role("button", name="Run again train-7").click()
    buttons = page.locator(".pending button")
    expect(buttons).to_have_text(["Undo", "Send now"])
    undo, send = (buttons.nth(i).bounding_box() for i in (0, 1))
    assert undo and send and undo["y"] == send["y"]


def test_a_wide_screen_says_how_to_begin_until_a_job_is_chosen(jobs: Jobs, phone: Open) -> None:
    page = phone("/", width=1280)
    expect(page.get_by_text("Choose a job")).to_be_hidden()  # there is none
    expect(page.locator("#chips")).to_be_hidden()
    jobs.make("train-7")
    poll(page)
    expect(page.get_by_text("Choose a job")).to_be_visible()
    expect(page.locator("#chips")).to_be_visible()
    page.get_by_role("link", name="train-7").click()
    expect(page.get_by_role("heading", name="train-7")).to_be_visible()
    expect(page.get_by_text("Choose a job")).to_be_hidden()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/")
    expect(page.get_by_role("link", name="train-7")).to_be_visible()
    expect(page.get_by_text("Choose a job")).to_be_hidden()


def test_the_example_is_one_tap_and_says_that_it_waits(app: Flask, phone: Open) -> None:
    page = phone("/")
    page.get_by_role("button", name="Submit the example").click()
    expect(page.get_by_text("New job for this machine")).to_be_visible()
    assert actions(app) == [("submit", "waiting")]


@pytest.mark.parametrize("scripts", [True, False], ids=["with-script", "without"])
def test_a_source_is_paused_resumed_and_removed(jobs: Jobs, phone: Open, scripts: bool) -> None:
    jobs.make("train-7")
    page = phone("/servers", scripts=scripts)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("strong").get_by_text("Paused", exact=True)).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.get_by_text("Remove…").click()
    page.get_by_role("button", name="Remove remoteJobs-vistrails here").click()
    expect(page.get_by_text("On the server, everything is as it was")).to_be_visible()
    page.goto("/")
    expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()


def test_after_a_tap_news_comes_often(jobs: Jobs, phone: Open) -> None:
    """A list in which nothing lives asks seldom: a tap has to change that, or its outcome would come late."""
    jobs.make("train-7", "failed")
    page = phone("/")
    assert page.locator("#poll").get_attribute("hx-trigger") == "every 30s"
    page.get_by_role("button", name="Run again train-7").click()
    expect(page.locator("#poll")).to_have_attribute("hx-trigger", "every 5s")


@pytest.mark.parametrize("scripts", [True, False], ids=["with-script", "without"])
def test_sync_asks_and_shows_that_it_goes_on(jobs: Jobs, phone: Open, scripts: bool) -> None:
    jobs.make("train-7")
    page = phone("/", scripts=scripts)
    page.get_by_role("button", name="Sync").click()
    expect(page.locator("#bar")).to_contain_text("Waiting for its turn")
    expect(page.locator("#sync")).to_be_disabled()


@pytest.mark.parametrize("scripts", [True, False], ids=["with-script", "without"])
def test_a_tap_on_a_job_of_a_paused_source_leads_to_resume(
    app: Flask, jobs: Jobs, phone: Open, scripts: bool
) -> None:
    jobs.make("train-7")
    with app.app_context():
        sources.set_paused(jobs.source, True)
    page = phone("/", scripts=scripts)
    page.get_by_role("button", name="Cancel train-7").click()
    pending = page.locator(".pending")
    expect(pending).to_contain_text("Paused: cancel when its source is resumed")
    expect(page.get_by_role("button", name="Send now")).to_have_count(0)
    if scripts:
        expect(page.locator(".toast")).to_contain_text("Its source is paused.")
        assert page.evaluate(TOO_SMALL) == []
        assert page.evaluate(SPILT) == []
    pending.get_by_role("link", name="Resume").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.goto("/")
    expect(page.locator(".pending")).to_contain_text("Cancel at next sync")
