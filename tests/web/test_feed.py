"""The change feed: what a poller gets, and what it must never lose."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from web import rows

from remoteweb import changes
from remoteweb.database import begin_writing, db
from remoteweb.models import Job, Source

POLL = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture
def source_id(app: Flask) -> int:
    with app.app_context():
        return rows.source(rows.server()).id


def make(app: Flask, source_id: int, name: str = "train", state: str = "running") -> int:
    with app.app_context():
        return rows.job(db.session.get_one(Source, source_id), name, state).id


def change(app: Flask, job: int, **columns: object) -> None:
    with app.app_context():
        rows.change(db.session.get_one(Job, job), **columns)


def tag(client: FlaskClient, page: str = "/") -> str:
    found = re.search(r'hx-ptag="([^"]*)"', client.get(page).text)
    assert found
    return found[1]


def poll(client: FlaskClient, known: str, address: str = "/changes?every=5") -> object:
    return client.get(address, headers={**POLL, "HX-PTag": known})


def targets(body: str) -> list[tuple[str, str]]:
    return re.findall(r'<hx-partial hx-target="([^"]*)" hx-swap="(\w+)">', body)


def test_nothing_new_is_304_and_small(app: Flask, client: FlaskClient, source_id: int) -> None:
    make(app, source_id)
    known = tag(client)
    answer = poll(client, known)
    assert answer.status_code == 304 and answer.data == b""
    assert answer.headers["HX-PTag"] == known
    # The line of status and the server's own lines come on top of these.
    size = len(
        "HTTP/1.1 304 NOT MODIFIED\r\nServer: gunicorn\r\nDate: Tue, 24 Nov 2026 18:00:00 GMT\r\nConnection: keep-alive\r\n"
    )
    assert size + sum(len(f"{name}: {value}\r\n") for name, value in answer.headers) < 450


def test_a_changed_row_comes_to_its_group_with_the_counts(
    app: Flask, client: FlaskClient, source_id: int
) -> None:
    job, other = make(app, source_id), make(app, source_id, "other")
    known = tag(client)
    change(app, job, nodes="n1", partition="gpu")
    answer = poll(client, known)
    assert answer.status_code == 200
    assert targets(answer.text)[0] == ("#g1", "place")
    assert f'id="j{job}"' in answer.text and f'id="j{other}"' not in answer.text
    assert [name for name, how in targets(answer.text) if how == "textContent"] == [
        ".n0",
        ".n1",
        ".n2",
        ".n3",
        ".all",
    ]
    assert answer.headers["HX-PTag"] != known
    assert poll(client, answer.headers["HX-PTag"]).status_code == 304


def test_a_row_that_left_the_filter_is_only_taken_away(
    app: Flask, client: FlaskClient, source_id: int
) -> None:
    job = make(app, source_id)
    address = "/changes?view=running&every=5"
    known = tag(client, "/?view=running")
    change(app, job, state="done", ended=1.0)
    body = poll(client, known, address).text
    assert (f"#j{job}", "delete") in targets(body)
    assert f'id="j{job}"' not in body


@pytest.mark.parametrize(
    ("query", "belongs"),
    [
        ("q=train", True),
        ("q=other", False),
        ("server=1", True),
        ("server=9", False),
        ("view=running", True),
        ("view=ended", False),
    ],
)
def test_the_feed_knows_the_filter_of_its_page(
    app: Flask, client: FlaskClient, source_id: int, query: str, belongs: bool
) -> None:
    make(app, source_id, "before")
    known = tag(client)
    job = make(app, source_id, "train-new")
    body = poll(client, known, f"/changes?{query}&every=5").text
    assert ((f'id="j{job}"' in body), (f"#j{job}", "delete") in targets(body)) == (belongs, not belongs)


def test_many_changes_are_the_first_page_anew(app: Flask, client: FlaskClient, source_id: int) -> None:
    known = tag(client)
    jobs = [make(app, source_id, f"j{i}") for i in range(31)]
    answer = poll(client, known)
    assert ("#jobs", "outerHTML") in targets(answer.text)
    assert answer.text.count('<li class="job"') == 30
    assert poll(client, answer.headers["HX-PTag"]).status_code == 304
    change(app, jobs[0], raw="x")
    assert targets(poll(client, answer.headers["HX-PTag"]).text)[0] == ("#g1", "place")


@pytest.mark.parametrize("known", ["", "nonsense", "7.1", "0.999", "-1.0", "0.1.2", "0.٣", "0." + "9" * 40])
def test_a_tag_that_is_not_known_is_the_first_page_anew(
    app: Flask, client: FlaskClient, source_id: int, known: str
) -> None:
    make(app, source_id)
    answer = client.get("/changes", headers={**POLL, "HX-PTag": known.encode().decode("latin-1")})
    assert answer.status_code == 200 and ("#jobs", "outerHTML") in targets(answer.text)


def test_rows_that_went_away_make_every_page_load_anew(
    app: Flask, client: FlaskClient, source_id: int
) -> None:
    job = make(app, source_id)
    known = tag(client)
    with app.app_context():
        begin_writing()
        db.session.delete(db.session.get_one(Job, job))
        changes.start_afresh(1)
        db.session.commit()
    assert ("#jobs", "outerHTML") in targets(poll(client, known).text)


def test_an_error_carries_no_tag_and_nothing_is_skipped_after_it(
    app: Flask, client: FlaskClient, source_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make(app, source_id)
    known = tag(client)
    change(app, job, raw="x")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    with monkeypatch.context() as broken:
        broken.setattr("remoteweb.jobs.queries.changed_since", lambda *_: 1 / 0)
        answer = poll(client, known)
    assert answer.status_code == 500 and "HX-PTag" not in answer.headers
    assert f'id="j{job}"' in poll(client, known).text


def test_a_tap_shows_on_the_other_page_too(app: Flask, client: FlaskClient, source_id: int) -> None:
    job = make(app, source_id)
    known = tag(client)
    client.post(f"/jobs/{job}/cancel", data={"idem_key": "some-button"}, headers=POLL)
    assert "Cancel at next sync" in poll(client, known).text


def test_a_confirmed_source_moves_the_line_and_no_row(
    app: Flask, client: FlaskClient, source_id: int
) -> None:
    make(app, source_id)
    known = tag(client)
    with app.app_context():
        begin_writing()
        changes.publish([db.session.get_one(Source, source_id)])
        db.session.commit()
    assert [name for name, _ in targets(poll(client, known).text)] == ["#submissions", "#bar"]


def test_polls_come_often_only_while_something_lives(app: Flask, client: FlaskClient, source_id: int) -> None:
    job = make(app, source_id)
    page = client.get("/").text
    assert 'hx-trigger="every 5s"' in page
    known = tag(client)
    change(app, job, state="done", ended=1.0)
    body = poll(client, known).text
    assert ("#poll", "outerHTML") in targets(body) and 'hx-trigger="every 30s"' in body
    assert 'hx-trigger="every 30s"' in client.get("/").text


def test_one_jobs_page_hears_of_that_job_alone(app: Flask, client: FlaskClient, source_id: int) -> None:
    job, other = make(app, source_id), make(app, source_id, "other")
    known = tag(client, f"/jobs/{job}")
    change(app, other, raw="x")
    answer = poll(client, known, f"/jobs/{job}/changes")
    assert answer.status_code == 304 and answer.headers["HX-PTag"] != known
    change(app, job, state="failed", ended=1.0, reason="memory")
    body = poll(client, answer.headers["HX-PTag"], f"/jobs/{job}/changes").text
    assert targets(body) == [(f"#job-{job}", "outerMorph")]
    assert "Ran out of memory" in body


def test_one_changed_row_is_a_small_answer(app: Flask, client: FlaskClient, source_id: int) -> None:
    job = make(app, source_id, "train-resnet-7")
    known = tag(client)
    change(app, job, raw="x")
    assert len(poll(client, known).data) < 2200
