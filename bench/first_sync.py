"""A first sync of a large registry by the served program, with a person tapping and looking meanwhile."""

import html
import re
import sqlite3
import time
from dataclasses import dataclass, field

from flask import Flask
from ground import Ground
from made_records import Pattern, registry
from served import Served, served
from steady_sync import sync
from table import Row, limit, ms

from remoteweb import actions
from remoteweb.database import db
from remoteweb.models import Job

SOURCE = "bench-large"
DATABASE = "large"
PEAK = 250e6  # bytes
LONGEST = 1800  # seconds


@dataclass
class Watched:
    """What a person would notice while it runs."""

    done: list[int] = field(default_factory=list)
    total: int = 0
    sentence: str = ""
    seconds: float = 0.0
    taps: list[float] = field(default_factory=list)
    pages: list[float] = field(default_factory=list)


def measure(ground: Ground, of: Pattern) -> tuple[Flask, list[Row]]:
    """The app on the filled database, and the rows."""
    app = ground.web(DATABASE)
    registry(ground, SOURCE, of)
    with ground.submitter(SOURCE) as jobs:
        asked = jobs.create_settings(None, None, "sleep", ["3000"], name="one-that-runs", scheduler="process")
        jobs.submit_job(asked)
    sync(ground, app, SOURCE)  # from now on the served program syncs it by itself
    registry(ground, SOURCE, of, sealed=ground.jobs)
    with served(ground, DATABASE) as server:
        before = server.peak
        seen = _watch(ground, app, server)
        rows = _rows(ground, seen, before, server.peak)
        rows += feed(app, server)
    return app, rows


def _watch(ground: Ground, app: Flask, server: Served) -> Watched:
    seen, began = Watched(), time.monotonic()
    path = ground.database(DATABASE).removeprefix("sqlite:///")
    with sqlite3.connect(path) as look:
        while True:
            assert time.monotonic() - began < LONGEST, "the first sync did not end"
            time.sleep(0.2)
            row = look.execute(
                "SELECT state, done, total, sentence, ended_at - started_at, changed FROM sync_run ORDER BY id DESC LIMIT 1"
            ).fetchone()
            state, done, total, sentence, seconds, changed = row
            if changed < ground.jobs and state != "running":
                continue
            if state != "running":
                seen.sentence, seen.seconds = sentence, seconds
                return seen
            if total and done not in seen.done[-1:]:
                seen.done.append(done)
                seen.total = total
            _tap(app, seen)
            clock = time.perf_counter()
            assert b" 200 OK" in server.get("/")[:40]
            seen.pages.append(time.perf_counter() - clock)


def _tap(app: Flask, seen: Watched) -> None:
    """Cancel, and at once Undo: each waits for the write lock."""
    with app.app_context():
        job = db.session.scalars(db.select(Job).where(Job.name == "one-that-runs")).one()
        clock = time.perf_counter()
        action = actions.ask(job, "cancel", f"bench-{time.time()}", job.revision)
        seen.taps.append(time.perf_counter() - clock)
        assert actions.withdraw(action)


def _rows(ground: Ground, seen: Watched, before: int, peak: int) -> list[Row]:
    rises = sum(later > earlier for earlier, later in zip(seen.done, seen.done[1:], strict=False))
    what = f"first sync of {ground.jobs:,} records"
    return [
        Row(what, f"{seen.seconds:.0f} s", "", f"{ground.jobs / seen.seconds:,.0f} records/s", "ends", True),
        Row(f"{what}: progress", "", "", f"rose {rises} times while watched", "rises", rises > 1),
        limit(
            f"{what}: peak memory of web and sync",
            peak / 1e6,
            "MB",
            PEAK / 1e6,
            f"{before / 1e6:.0f} MB before",
        ),
        _worst("a tap meanwhile, until it is kept", seen.taps),
        _worst("the list page meanwhile, over HTTP", seen.pages),
    ]


def _worst(what: str, times: list[float]) -> Row:
    if not times:
        return Row(what, "", "", "the sync was over before one")
    ordered = sorted(times)
    return Row(
        what, f"median {ms(ordered[len(ordered) // 2])} of {len(ordered)}", "", f"at most {ms(ordered[-1])}"
    )


def feed(app: Flask, server: Served) -> list[Row]:
    """Bytes of the polls that a page makes, headers included: nothing new, a row on which a tap waits, and without it again."""
    poll = _poll(server.get("/").decode())
    unchanged = server.get(*poll)
    assert b" 304 " in unchanged[:20], unchanged[:200]
    with app.app_context():
        job = db.session.scalars(db.select(Job).where(Job.name == "one-that-runs")).one()
        action = actions.ask(job, "cancel", f"bench-{time.time()}", job.revision)
        tapped = server.get(*poll)
        poll = _poll(server.get("/").decode())
        actions.withdraw(action)
        changed = server.get(*poll)
    assert b"one-that-runs" in tapped
    assert b"one-that-runs" in changed
    return [
        limit("a poll, nothing changed: headers and body", len(unchanged), "bytes"),
        limit("a poll, one row changed: headers and body", len(changed), "bytes"),
        limit("a poll, one row with Undo and Send now: headers and body", len(tapped), "bytes"),
    ]


def _poll(page: str) -> tuple[str, str]:
    """Where the page looks for what is new, and with which headers."""
    found = re.search(r'id="poll" hidden hx-get="([^"]+)".*? hx-ptag="([^"]+)"', page)
    assert found
    return html.unescape(found[1]), f"HX-Request: true\r\nHX-PTag: {found[2]}\r\n"
