"""The pages of the syncs: ask for one, see how it goes, pause and remove sources."""

import time
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from web.syncing import APP, submit, sync

from remoteweb import actions, changes, leases, runs, sources
from remoteweb.database import begin_writing, db
from remoteweb.models import Job, Server, Source, SyncRun
from remoteweb.sync.queries import ServerLine, overview

HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture(autouse=True)
def context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


@pytest.fixture
def source() -> Source:
    submit("exit 0")
    sync()
    found = sources.find_here(APP)
    assert found
    return found


def line() -> ServerLine:
    db.session.rollback()
    db.session.expire_all()
    (only,) = overview()
    return only


def waiting() -> list[SyncRun]:
    db.session.rollback()
    return list(db.session.scalars(db.select(SyncRun).where(SyncRun.state == "waiting")))


def test_a_tap_on_sync_leaves_a_row_and_comes_back(client: FlaskClient, source: Source) -> None:
    answer = client.post("/sync")
    assert (answer.status_code, answer.location) == (303, "/")
    (run,) = waiting()
    assert (run.asked_by, run.server_id) == ("person", source.server_id)


def test_with_htmx_the_bar_comes_back_and_asks_again_while_it_runs(
    client: FlaskClient, source: Source
) -> None:
    answer = client.post("/sync", headers=HTMX)
    assert answer.status_code == 200 and "every 1s" in answer.text and "Waiting for its turn" in answer.text
    assert "every 1s" in client.get("/sync", headers=HTMX).text
    sync()
    assert "every 1s" not in client.get("/sync", headers=HTMX).text


def test_a_sync_that_nobody_takes_says_so(client: FlaskClient, source: Source) -> None:
    client.post("/sync")
    waiting()[0].asked_at -= 60
    db.session.commit()
    assert line().sentence == "Waiting for the sync worker. Is it running?"


def test_two_taps_are_one_sync(client: FlaskClient, source: Source) -> None:
    client.post("/sync")
    client.post("/sync", headers=HTMX)
    assert len(waiting()) == 1


def test_one_server_can_be_asked_for(client: FlaskClient, source: Source) -> None:
    other = sources.server("me", "alps.example.org", 22)
    other.sources.append(Source(app=APP))
    db.session.commit()
    other_id = other.id
    client.post("/sync", data={"server": other_id})
    assert [run.server_id for run in waiting()] == [other_id]


@pytest.mark.parametrize("server", ["99", "x", "", "-1", "9" * 30])
def test_a_server_that_is_not_there_is_404(client: FlaskClient, source: Source, server: str) -> None:
    assert client.post("/sync", data={"server": server}).status_code == 404
    assert not waiting()


def test_a_setting_leaves_sync_now_out(app: Flask, client: FlaskClient, source: Source) -> None:
    app.config["SYNC_NOW"] = False
    assert client.post("/sync").status_code == 404
    assert not waiting()
    assert 'id="sync"' not in client.get("/").text


def test_asking_by_address_changes_nothing(client: FlaskClient, source: Source) -> None:
    assert client.get("/sync").location == "/servers"
    assert not waiting()


def test_the_servers_page_shows_each_source(client: FlaskClient, source: Source) -> None:
    page = client.get("/servers").text
    assert "this machine" in page and APP in page and "1 job, 1 changed." in page


def test_remote_words_on_the_servers_page_are_inert(client: FlaskClient, source: Source) -> None:
    source.error = "<script>alert(1)</script><i hx-post='/sync' hx-trigger=load>"
    db.session.commit()
    page = client.get("/servers").text
    assert "<script>alert(1)" not in page and "<i hx-post" not in page


def test_pausing_and_resuming(client: FlaskClient, source: Source) -> None:
    source_id, tag = source.id, changes.tag()
    assert client.post(f"/sources/{source_id}/pause").location == "/servers"
    assert line().state == "paused" and changes.tag() != tag
    client.post("/sync")
    assert not waiting(), "nothing is asked of it"
    answer = client.post(f"/sources/{source_id}/resume", headers=HTMX)
    assert answer.status_code == 200 and "Pause" in answer.text
    assert line().state == "ok"


def test_removing_takes_the_jobs_away_here_and_touches_nothing_there(
    client: FlaskClient, source: Source, home: object
) -> None:
    from pathlib import Path

    folder = Path(str(home)) / f".{APP}" / "settings"
    before, tag = sorted(folder.iterdir()), changes.tag()
    answer = client.post(f"/sources/{source.id}/remove")
    assert (answer.status_code, answer.location) == (303, "/servers")
    assert "was removed here" in client.get("/servers").text
    db.session.rollback()
    assert db.session.scalar(db.select(Job.id)) is None and overview() == []
    assert sorted(folder.iterdir()) == before
    assert changes.tag().split(".")[0] != tag.split(".")[0], "open lists load anew"


def test_removing_with_htmx_loads_the_whole_page(client: FlaskClient, source: Source) -> None:
    answer = client.post(f"/sources/{source.id}/remove", headers=HTMX)
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (200, "/servers")


@pytest.mark.parametrize("verb", ["pause", "resume", "remove"])
def test_a_source_that_is_not_there_is_404(client: FlaskClient, verb: str) -> None:
    for source_id in ("99", "0", "9" * 30, "-1", "x"):
        assert client.post(f"/sources/{source_id}/{verb}").status_code == 404


@pytest.mark.parametrize("path", ["/sync", "/sources/1/pause", "/sources/1/resume", "/sources/1/remove"])
def test_a_stranger_and_another_site_change_nothing(
    client: FlaskClient, anonymous: FlaskClient, source: Source, path: str
) -> None:
    assert anonymous.post(path).status_code == 401
    crossed = client.post(path, environ_overrides={"HTTP_SEC_FETCH_SITE": "cross-site"})
    assert crossed.status_code == 403
    assert not waiting() and line().state == "ok"


def test_what_a_line_says(source: Source) -> None:
    server_id = source.server_id

    def put(**columns: object) -> ServerLine:
        db.session.rollback()
        server = db.session.get_one(Server, server_id)
        for name, value in columns.items():
            setattr(server, name, value)
        db.session.commit()
        return line()

    assert (line().state, line().sentence) == ("ok", "1 job, 1 changed.")
    troubled = put(error="No route to it.", error_since=5.0)
    assert (troubled.state, troubled.sentence, troubled.since) == ("trouble", "No route to it.", 5.0)
    asks = put(needs_person="No key was accepted.")
    assert (asks.state, asks.sentence) == ("needs_person", "No key was accepted.")
    put(error="", needs_person="", error_since=None)
    row = db.session.get_one(Source, source.id)
    row.confirmed_at = time.time() - 3600
    db.session.commit()
    assert line().state == "late"
    row = db.session.get_one(Source, source.id)
    row.confirmed_at = None
    db.session.commit()
    assert (line().state, line().confirmed_at) == ("never", None)


def test_a_running_sync_shows_how_far_it_is_until_its_program_is_gone(source: Source) -> None:
    begin_writing()
    lease = leases.take(source.server_id, "elsewhere:1:x", ignore_interval=True)
    run = db.session.get_one(SyncRun, runs.begin(lease, "command", whole_server=True))
    run.stage, run.done, run.total = "writing", 1500, 100_000
    db.session.commit()
    shown = line()
    assert (shown.state, shown.done, shown.total) == ("syncing", 1500, 100_000)
    assert shown.sentence == "Storing 1,500 of 100,000 jobs."
    db.session.get_one(Server, source.server_id).lease_until = time.time() - 1
    db.session.commit()
    assert line().state == "ok", "a killed program does not sync for ever"


def test_a_sync_that_waits_goes_when_the_last_source_is_paused(client: FlaskClient, source: Source) -> None:
    client.post("/sync")
    client.post(f"/sources/{source.id}/pause")
    assert line().state == "paused" and waiting() == []
    client.post(f"/sources/{source.id}/resume")
    assert line().state == "ok", "and does not come back, old as it is"


def test_a_sync_that_waits_stays_while_one_source_is_not_paused(client: FlaskClient, source: Source) -> None:
    server = db.session.get_one(Server, source.server_id)
    server.sources.append(Source(app="other", confirmed_at=time.time()))
    db.session.commit()
    source_id = source.id
    client.post("/sync")
    client.post(f"/sources/{source_id}/pause")
    assert line().state == "syncing" and len(waiting()) == 1


def test_a_sync_that_waits_for_paused_sources_alone_holds_up_no_other(
    client: FlaskClient, source: Source
) -> None:
    """Such a row can be there: asked for in the moment of the pause, or while a removed source was not paused."""
    paused = sources.server("me", "alps.example.org", 22)
    paused.sources.append(Source(app=APP, paused=True))
    db.session.add(SyncRun(server_id=paused.id, asked_by="person", asked_at=time.time() - 3600))
    db.session.commit()
    assert [shown.state for shown in overview()] == ["ok", "paused"]
    page = client.get("/").text
    assert "Is it running?" not in page and "every 1s" not in page
    assert 'id="sync">' in page, "it can be tapped"


def test_a_paused_server_is_not_asked_for(client: FlaskClient, source: Source) -> None:
    server_id = source.server_id
    client.post(f"/sources/{source.id}/pause")
    client.post("/sync", data={"server": server_id})
    assert waiting() == []


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_open_pages_hear_of_a_pause_where_something_waits_for_it(
    client: FlaskClient, source: Source, verb: str
) -> None:
    if verb == "resume":
        sources.set_paused(source.id, True)
    job = db.session.scalars(db.select(Job)).one()
    job_id, source_id = job.id, source.id
    actions.ask(job, "resubmit", "of-this-page", job.revision)
    tag = changes.tag()
    client.post(f"/sources/{source_id}/{verb}")
    news = client.get("/changes", headers={**HTMX, "HX-PTag": tag}).text
    said = "Paused: run again when its source is resumed" if verb == "pause" else "Run again at next sync"
    assert f'id="j{job_id}"' in news and said in news
