"""The list at its edges: what a browser asks for, and what it is given."""

import re
import time

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event
from web import rows

from remoteweb.database import db

PART = {"HX-Request": "true", "HX-Request-Type": "partial"}


def names(page: str) -> list[str]:
    return re.findall(r'class="name" id="n\d+">([^<]*)<', page)


def more(page: str) -> str | None:
    found = re.search(r'<li class="more" hx-get="([^"]*)"', page)
    return found[1].replace("&amp;", "&") if found else None


@pytest.fixture
def alps(app: Flask) -> int:
    with app.app_context():
        return rows.source(rows.server()).id


def fill(app: Flask, source_id: int, *jobs: tuple[str, str]) -> None:
    with app.app_context():
        source = db.session.get_one(rows.Source, source_id)
        for name, state in jobs:
            rows.job(source, name, state)


def test_groups_stand_in_their_order_and_the_newest_change_is_first_in_each(
    app: Flask, client: FlaskClient, alps: int
) -> None:
    fill(app, alps, ("d1", "done"), ("w1", "queued"), ("r1", "running"), ("f1", "failed"), ("r2", "running"))
    fill(app, alps, ("l1", "lost"), ("d2", "cancelled"))
    page = client.get("/").text
    assert names(page) == ["l1", "f1", "r2", "r1", "w1", "d2", "d1"]
    assert re.findall(r'<b>([^<]*)</b> <span class="n\d">(\d+)<', page) == [
        ("Needs you", "2"),
        ("Running", "2"),
        ("Waiting", "1"),
        ("Ended", "2"),
    ]


def test_the_pages_hold_every_job_once_across_groups_and_equal_changes(
    app: Flask, client: FlaskClient, alps: int
) -> None:
    with app.app_context():
        source = db.session.get_one(rows.Source, alps)
        rows.begin_writing()
        states = ["failed", "running", "queued", "done", "done"]
        # One sync writes many rows under one number: within it, the order is by id.
        made = [rows.unsaved(source, f"job-{i}", states[i % 5], change=i // 40) for i in range(200)]
        db.session.add_all(made)
        db.session.commit()
        expected = [job.name for job in sorted(made, key=lambda job: (job.group, -job.change, -job.id))]
    seen, address, pages = [], "/", 0
    while address:
        page = client.get(address, headers=PART if pages else {}).text
        seen += names(page)
        address, pages = more(page) or "", pages + 1
    assert seen == expected
    assert pages == 7


def test_the_next_page_is_list_items_in_their_groups_and_nothing_else(
    app: Flask, client: FlaskClient, alps: int
) -> None:
    fill(app, alps, *((f"r{i}", "running") for i in range(32)), *((f"d{i}", "done") for i in range(3)))
    part = client.get(more(client.get("/").text) or "", headers=PART).text
    assert re.findall(r'<hx-partial hx-target="(#g\d)" hx-swap="(\w+)">', part) == [
        ("#g1", "beforeend"),
        ("#g3", "beforeend"),
    ]
    inside = re.sub(r"</?hx-partial[^>]*>", "", part).strip()
    assert inside.startswith("<li") and inside.endswith("</li>")
    assert "<ol" not in inside and "<html" not in inside


def test_the_same_address_is_a_whole_page_without_htmx_and_on_the_way_back(
    app: Flask, client: FlaskClient, alps: int
) -> None:
    fill(app, alps, *((f"r{i}", "running") for i in range(32)))
    address = more(client.get("/").text) or ""
    back = {"HX-Request": "true", "HX-Request-Type": "full", "HX-History-Restore-Request": "true"}
    for headers in ({}, back):
        page = client.get(address, headers=headers).text
        assert page.startswith("<!doctype html>")
        assert names(page) == ["r1", "r0"]
        assert "Back to the newest" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=resnet", ["train-resnet-02", "train-resnet-01"]),
        ("q=RESNET", ["train-resnet-02", "train-resnet-01"]),
        ("q=resnet+02", ["train-resnet-02"]),
        ("q=4711", ["by-id"]),
        ("q=tr", ["train-resnet-02", "train-resnet-01"]),
        ("q=01", ["01-short"]),
        ("q=no-such", []),
        ("q=100%25_", ["100%_done"]),
        ("q=%22quoted", ['say "quoted" AND NOT x']),
        ("q=NOT+AND", ['say "quoted" AND NOT x']),
        ("q=name:resnet", []),
        ("q=resnet*", []),
        ("q=%00", None),
        ("view=running", ["train-resnet-02"]),
        ("view=ended&q=resnet", ["train-resnet-01"]),
        ("view=nonsense", None),
        ("server=1", None),
        ("server=99", []),
        ("server=x", None),
        ("after=nonsense", None),
    ],
)
def test_search_and_filters_find_what_they_say(
    app: Flask, client: FlaskClient, alps: int, query: str, found: list[str] | None
) -> None:
    with app.app_context():
        source = db.session.get_one(rows.Source, alps)
        rows.job(source, "train-resnet-01", "done", scheduler_id="9001")
        rows.job(source, "by-id", "done", scheduler_id="4711")
        rows.job(source, "01-short", "done", scheduler_id="9002")
        rows.job(source, "100%_done", "done", scheduler_id="9003")
        rows.job(source, 'say "quoted" AND NOT x', "done", scheduler_id="9004")
        rows.job(source, "train-resnet-02", "running", scheduler_id="9005")
    page = client.get(f"/?{query}").text
    shown = [name.replace("&#34;", '"') for name in names(page)]
    assert len(shown) == 6 if found is None else shown == found
    if found == []:
        assert "Show all jobs" in page


def test_a_common_word_is_walked_and_finds_every_job_once(
    app: Flask, client: FlaskClient, alps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More matches than are sorted: pages may be short, but together they are whole."""
    monkeypatch.setattr("remoteweb.jobs.searching.SORTED", 20)
    monkeypatch.setattr("remoteweb.jobs.searching.STRETCH", 7)
    fill(app, alps, *((("train" if i % 4 == 0 else "other") + f"-{i}", "done") for i in range(120)))
    seen, address, pages = [], "/?q=train", 0
    while address:
        page = client.get(address, headers=PART if pages else {}).text
        seen += names(page)
        address, pages = more(page) or "", pages + 1
    assert seen == [f"train-{i}" for i in range(116, -1, -4)]
    assert pages == 18


def test_the_filter_stays_in_every_address(app: Flask, client: FlaskClient, alps: int) -> None:
    fill(app, alps, *((f"train-{i}", "running") for i in range(40)))
    page = client.get("/?q=train&view=running&server=1").text.replace("&amp;", "&")
    kept = "view=running&server=1&q=train"
    assert (more(page) or "").startswith(f"/?{kept}&after=1.")
    assert f'hx-get="/changes?{kept}&every=5"' in page
    assert 'href="/?server=1&q=train"' in page  # all, still of this server and search
    assert 'href="/?view=running&q=train"' in page  # all servers


def test_hostile_names_stay_text(app: Flask, client: FlaskClient, alps: int) -> None:
    fill(app, alps, ('<img src=x onerror=alert(1)><hx-partial hx-target="body">', "running"))
    page = client.get("/").text
    assert "&lt;img src=x onerror=alert(1)&gt;&lt;hx-partial" in page
    assert "<img" not in page
    for row in re.findall(r'<li class="job".*?</li>', page, re.S):
        assert re.search(r'<a class="open" href="/jobs/\d+" hx-ignore>', row)


def test_an_empty_list_explains_itself_and_offers_one_tap(client: FlaskClient) -> None:
    page = client.get("/").text
    assert "No jobs yet" in page
    assert 'action="/example"' in page
    assert "remotejobs submit" in page


def test_counting_stops_at_a_thousand(app: Flask, client: FlaskClient, alps: int) -> None:
    with app.app_context():
        source = db.session.get_one(rows.Source, alps)
        rows.begin_writing()
        db.session.add_all([rows.unsaved(source, f"j{i}", "done", change=1) for i in range(1005)])
        db.session.commit()
    assert '<b>Ended</b> <span class="n3">999+</span>' in client.get("/").text


WHOLE_TABLE = re.compile(r"SCAN job\b(?!_search)(?! USING)")
ALL_OF_AN_OWNER = re.compile(r"SEARCH job\b.*\(owner_id=\?\)\Z")
QUERIES = [
    "/",
    "/?view=ended",
    "/?server=1",
    "/?server=1&view=running",
    "/?q=train",
    "/?q=job-000099",
    "/?q=tr",
]


@pytest.mark.sqlite
def test_no_query_reads_the_whole_table(app: Flask, client: FlaskClient, alps: int) -> None:
    """SQLite's own plan, with and without its statistics: every step on `job` is a search in an index, and by more than
    whose the job is, since that may be all of them."""
    with app.app_context():
        source = db.session.get_one(rows.Source, alps)
        rows.begin_writing()
        made = [
            rows.unsaved(source, f"train-{i}", "done" if i % 9 else "running", change=i % 7)
            for i in range(1500)
        ]
        db.session.add_all(made)
        db.session.commit()
        rows.change(db.session.get_one(rows.Job, 5), raw="x")
        asked: list[tuple[str, object]] = []
        event.listen(
            db.engine,
            "before_cursor_execute",
            lambda _c, _cursor, text, values, *_: asked.append((text, tuple(values))),
        )
    selects = {}
    for address in (*QUERIES, "/?after=3.0.900", "/changes", "/jobs/5", "/jobs/5/changes"):
        asked.clear()
        assert client.get(address, headers={"HX-PTag": "0.0"}).status_code == 200
        of_jobs = {one: address for one in asked if "FROM job" in one[0]}
        assert of_jobs, address
        selects |= of_jobs
    with app.app_context():
        for statistics in ("", "ANALYZE"):
            connection = db.session.connection()
            connection.exec_driver_sql(statistics)
            for (text, values), address in selects.items():
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all()
                steps = [row[-1] for row in plan]
                assert not [step for step in steps if WHOLE_TABLE.match(step)], (address, text, steps)
                of_an_owner = [step for step in steps if ALL_OF_AN_OWNER.match(step)]
                assert not of_an_owner or "LIMIT" in text, (address, text, steps)


def test_the_age_of_a_live_row_is_that_of_its_source(app: Flask, client: FlaskClient, alps: int) -> None:
    fill(app, alps, ("r1", "running"))
    page = client.get("/").text
    stamp = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 60))
    assert re.search(rf'queue, <time class="ago" datetime="{stamp}[^"]*" data-of="s{alps}">', page)
    assert re.search(rf'<span id="s{alps}" hidden><time class="at" datetime="{stamp}', page)


def test_a_failed_sync_keeps_the_last_list_and_says_how_old_it_is(
    app: Flask, client: FlaskClient, alps: int
) -> None:
    fill(app, alps, ("r1", "running"))
    with app.app_context():
        rows.begin_writing()
        server = db.session.get_one(rows.Source, alps).server
        server.error, server.error_since = "Could not reach alps. It is tried again.", time.time()
        db.session.commit()
    page = client.get("/").text
    assert names(page) == ["r1"]
    bar = page[page.index('id="bar"') :]
    assert re.search(r'Last known <time class="ago"', bar)
    assert '<span class="warn">alps: Could not reach alps. It is tried again.</span>' in bar
