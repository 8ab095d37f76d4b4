"""One job's page, and the taps: each is a row that waits, once, and says so."""

import html
import json
import re
import time
import uuid
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from web import rows

from remotejobs.answer import Outcome
from remotejobs.records import JobKey
from remoteweb import leases, outcomes, sending, sources
from remoteweb.database import begin_writing, db
from remoteweb.jobs import words
from remoteweb.models import Action, Event, Job, SyncRun
from remoteweb.runs import SourceResult

HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture
def source_id(app: Flask) -> int:
    with app.app_context():
        return rows.source(rows.server()).id


def make(app: Flask, source_id: int, name: str = "train", state: str = "running", **columns: object) -> int:
    with app.app_context():
        return rows.job(db.session.get_one(rows.Source, source_id), name, state, **columns).id


def form(client: FlaskClient, page: str, action: str) -> dict[str, str]:
    """The fields of the form with this address, as the page gives them to a browser."""
    found = re.search(
        rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', client.get(page).text, re.S
    )
    assert found, f"no form for {action} on {page}"
    return dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', found[1]))


def actions(app: Flask) -> list[tuple[str, str]]:
    with app.app_context():
        return [(row.kind, row.state) for row in db.session.scalars(db.select(Action).order_by(Action.id))]


def test_cancel_without_javascript_leads_back_to_where_it_was_tapped(
    app: Flask, client: FlaskClient, source_id: int
) -> None:
    job = make(app, source_id)
    fields = form(client, "/?view=running", f"/jobs/{job}/cancel")
    answer = client.post(
        f"/jobs/{job}/cancel", data=fields, headers={"Referer": "http://localhost/?view=running"}
    )
    assert (answer.status_code, answer.headers["Location"]) == (303, "/?view=running")
    assert actions(app) == [("cancel", "waiting")]
    page = client.get("/?view=running").text
    assert "Cancel at next sync" in page and ">Undo<" in page and ">Send now<" in page
    assert f'action="/jobs/{job}/cancel"' not in page


@pytest.mark.parametrize(
    "referer", ["https://evil.example/x", "http://localhost//evil.example/x", "", "javascript:1"]
)
def test_the_way_back_never_leads_outside(
    app: Flask, client: FlaskClient, source_id: int, referer: str
) -> None:
    job = make(app, source_id)
    fields = form(client, "/", f"/jobs/{job}/cancel")
    answer = client.post(f"/jobs/{job}/cancel", data=fields, headers={"Referer": referer})
    assert answer.headers["Location"] in ("/", "/evil.example/x")


def test_a_second_tap_gives_the_first_row_back(app: Flask, client: FlaskClient, source_id: int) -> None:
    job = make(app, source_id)
    fields = form(client, "/", f"/jobs/{job}/cancel")
    for data in (fields, fields, {**fields, "idem_key": "another-button"}):
        assert client.post(f"/jobs/{job}/cancel", data=data, headers=HTMX).status_code == 200
    assert actions(app) == [("cancel", "waiting")]


def test_a_tap_says_which_revision_the_person_saw(app: Flask, client: FlaskClient, source_id: int) -> None:
    job = make(app, source_id, revision=7)
    client.post(f"/jobs/{job}/cancel", data=form(client, "/", f"/jobs/{job}/cancel"))
    with app.app_context():
        assert db.session.scalar(db.select(Action.revision)) == 7


def test_a_tap_answers_with_the_row_and_a_note_with_undo(
    app: Flask, client: FlaskClient, source_id: int
) -> None:
    job = make(app, source_id, name="train-7")
    fields = form(client, "/", f"/jobs/{job}/cancel")
    part = client.post(f"/jobs/{job}/cancel", data=fields, headers=HTMX).text
    assert re.findall(r'<hx-partial hx-target="([^"]*)" hx-swap="(\w+)">', part) == [
        (f"#j{job}", "outerMorph"),
        ("#list .toasts", "innerHTML"),
    ]
    assert "Cancelling train-7" in part and "<html" not in part


def test_undo_takes_it_back_and_renders_a_new_key(app: Flask, client: FlaskClient, source_id: int) -> None:
    job = make(app, source_id)
    before = form(client, "/", f"/jobs/{job}/cancel")
    part = client.post(f"/jobs/{job}/cancel", data=before, headers=HTMX).text
    undo = re.search(r'action="(/actions/[^"]*/undo)"', part)
    assert undo
    answer = client.post(undo[1], headers=HTMX).text
    assert "Undone" in answer and f'action="/jobs/{job}/cancel"' in answer
    assert actions(app) == [("cancel", "withdrawn")]
    after = form(client, "/", f"/jobs/{job}/cancel")
    assert after["idem_key"] != before["idem_key"]
    client.post(f"/jobs/{job}/cancel", data=after, headers=HTMX)
    assert actions(app) == [("cancel", "withdrawn"), ("cancel", "waiting")]


def test_undo_that_comes_too_late_says_so(app: Flask, client: FlaskClient, source_id: int) -> None:
    job = make(app, source_id)
    client.post(f"/jobs/{job}/cancel", data=form(client, "/", f"/jobs/{job}/cancel"))
    with app.app_context():
        begin_writing()
        action = db.session.scalars(db.select(Action)).one()
        action.state = "sending"
        db.session.commit()
        address = f"/actions/{action.uuid}/undo"
    assert "Too late to undo" in client.post(address, headers=HTMX).text
    assert actions(app) == [("cancel", "sending")]
    assert "The cancel is being sent" in client.get("/").text


def test_send_now_ends_the_time_for_undo_and_asks_for_a_sync(
    app: Flask, client: FlaskClient, source_id: int
) -> None:
    job = make(app, source_id)
    client.post(f"/jobs/{job}/cancel", data=form(client, "/", f"/jobs/{job}/cancel"))
    with app.app_context():
        action = db.session.scalars(db.select(Action)).one()
        assert action.not_before > time.time()
    client.post(f"/actions/{action.uuid}/send", headers=HTMX)
    with app.app_context():
        assert db.session.scalars(db.select(Action)).one().not_before <= time.time()
        assert db.session.scalars(db.select(SyncRun)).one().state == "waiting"


@pytest.mark.parametrize("state", ["done", "failed", "cancelled", "lost"])
def test_a_job_that_has_ended_can_be_run_again_and_not_cancelled(
    app: Flask, client: FlaskClient, source_id: int, state: str
) -> None:
    job = make(app, source_id, state=state)
    page = client.get(f"/jobs/{job}").text
    assert "/cancel" not in page
    late = client.post(f"/jobs/{job}/cancel", data={"idem_key": "of-an-old-page"}, headers=HTMX).text
    assert "It has ended already" in late
    client.post(f"/jobs/{job}/resubmit", data=form(client, f"/jobs/{job}", f"/jobs/{job}/resubmit"))
    assert actions(app) == [("resubmit", "waiting")]


@pytest.mark.parametrize(
    "state", ["submitted", "queued", "held", "running", "suspended", "finishing", "unknown"]
)
def test_a_job_that_has_not_ended_can_be_cancelled_and_not_run_again(
    app: Flask, client: FlaskClient, source_id: int, state: str
) -> None:
    job = make(app, source_id, state=state)
    page = client.get(f"/jobs/{job}").text
    assert f'action="/jobs/{job}/cancel"' in page and "/resubmit" not in page
    early = client.post(f"/jobs/{job}/resubmit", data={"idem_key": "of-an-old-page"}, headers=HTMX).text
    assert "It has not ended yet" in early
    assert actions(app) == []


def test_the_two_buttons_share_neither_id_nor_place(app: Flask, client: FlaskClient, source_id: int) -> None:
    """Otherwise a morph makes one of the other under the finger."""
    job = make(app, source_id)
    ids = {}
    for state in ("running", "failed"):
        with app.app_context():
            rows.change(db.session.get_one(Job, job), state=state)
        both = client.get("/").text + client.get(f"/jobs/{job}").text
        ids[state] = set(re.findall(r'<(?:form|button)[^>]* id="([^"]*\d)"', both))
    assert ids["running"] and ids["failed"] and not ids["running"] & ids["failed"]


@pytest.mark.parametrize("address", ["/jobs/99", "/jobs/99/changes"])
def test_a_job_that_is_not_here_is_a_sentence(client: FlaskClient, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text


def test_a_tap_without_its_form_is_refused(app: Flask, client: FlaskClient, source_id: int) -> None:
    job = make(app, source_id)
    assert client.post(f"/jobs/{job}/cancel", headers=HTMX).status_code == 400
    assert client.post("/jobs/99/cancel", data={"idem_key": "x" * 12}).status_code == 404
    assert client.post(f"/actions/{uuid.uuid4()}/undo").status_code == 404
    assert client.get(f"/jobs/{job}/cancel").status_code == 405
    assert actions(app) == []


@pytest.mark.parametrize("reason", [*words.FAILURES, "SomeNewWord", ""])
@pytest.mark.parametrize("state", ["failed", "lost"])
def test_a_failure_is_told_in_words(
    app: Flask, client: FlaskClient, source_id: int, state: str, reason: str
) -> None:
    job = make(app, source_id, state=state, reason=reason, raw="RAW_WORD", limit=3600)
    page = client.get(f"/jobs/{job}").text
    card = re.search(r'<section class="fail.*?</section>', page, re.S)
    assert card and "RAW_WORD" in card[0]
    expected = words.FAILURES.get(reason, words.FAILED) if state == "failed" else words.LOST
    assert expected.headline in card[0]
    assert expected.sentence.split(".")[0] in card[0].replace("&#39;", "'")


def test_a_state_that_nobody_knows_is_shown_with_its_word(
    app: Flask, client: FlaskClient, source_id: int
) -> None:
    make(app, source_id, state="unknown", raw="FROBNICATING")
    assert "Unknown state FROBNICATING" in client.get("/").text


def test_a_job_tells_what_happened_with_who_says_so(app: Flask, client: FlaskClient, source_id: int) -> None:
    now = time.time()
    job = make(
        app, source_id, state="failed", reason="time_limit", raw="TIMEOUT", nodes="nid001234", exit_code=143,
        submitted=now - 9000, started=now - 8000, ended=now - 800, attempt=2,
    )  # fmt: skip
    with app.app_context():
        begin_writing()
        db.session.add(
            Event(job_id=job, seen_at=now - 8500, state="held", evidence="queue", raw="PENDING JobHeldUser")
        )
        db.session.add(Event(job_id=job, seen_at=now - 8400, state="queued", evidence="queue", attempt=2))
        db.session.commit()
    history = re.search(r'<ol class="time".*?</ol>', client.get(f"/jobs/{job}").text, re.S)
    assert history
    told = [
        re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", step)).strip() for step in history[0].split("<li")[1:]
    ]
    expected = (
        "Submitted.*record on alps as job",
        "Held.*queue says PENDING JobHeldUser",
        "Queued again, attempt 2",
        "Started on nid001234.*attempt 2, after waiting 16 min",
        "Ran out of time.*accounting says TIMEOUT, after 2 h, exit code 143",
    )
    for words_, step in zip(expected, told, strict=True):
        assert re.search(words_, step), (words_, step)


def test_runs_of_the_same_work_stand_together(app: Flask, client: FlaskClient, source_id: int) -> None:
    first = make(app, source_id, state="failed", hash="a" * 32, n=1)
    second = make(app, source_id, state="running", hash="a" * 32, n=2)
    other = make(app, source_id, name="other", hash="b" * 32)
    page = client.get(f"/jobs/{first}").text
    runs = re.search(r'<ol class="runs".*?</ol>', page, re.S)
    assert runs and f'href="/jobs/{second}"' in runs[0] and f"/jobs/{other}" not in runs[0]
    assert "It was run again" in page
    assert "Runs of the same work" not in client.get(f"/jobs/{other}").text


def test_a_refusal_is_read_in_the_row_and_on_the_page(
    app: Flask, client: FlaskClient, source_id: int
) -> None:
    job = make(app, source_id)
    client.post(f"/jobs/{job}/cancel", data=form(client, "/", f"/jobs/{job}/cancel"))
    with app.app_context():
        begin_writing()
        action = db.session.scalars(db.select(Action)).one()
        action.state, action.outcome, action.ended_at = (
            "refused",
            "That id now belongs to another job.",
            time.time(),
        )
        db.session.commit()
    for address in ("/", f"/jobs/{job}"):
        assert "Refused: That id now belongs to another job." in client.get(address).text


@pytest.mark.parametrize("page", ["/", "/jobs/1"])
@pytest.mark.parametrize(("state", "kind"), [("running", "cancel"), ("failed", "resubmit")])
@pytest.mark.parametrize("ending", ["refused", "gave_up"])
def test_what_was_refused_or_given_up_can_be_asked_for_again_at_once(
    app: Flask, client: FlaskClient, source_id: int, page: str, state: str, kind: str, ending: str
) -> None:
    address = f"/jobs/{make(app, source_id, state=state)}/{kind}"
    client.post(address, data=form(client, page, address))
    assert f'action="{address}"' not in client.get(page).text, "while it waits there is nothing to ask for"
    with app.app_context():
        begin_writing()
        action = db.session.scalars(db.select(Action)).one()
        action.state, action.outcome, action.ended_at = ending, "Not this time.", time.time()
        db.session.commit()
    client.post(address, data=form(client, page, address))
    assert "Not this time." not in client.get(page).text.partition("What happened")[0]
    assert actions(app) == [(kind, ending), (kind, "waiting")]


def test_the_example_is_asked_of_this_machine_once(app: Flask, client: FlaskClient) -> None:
    fields = re.search(r'name="idem_key" value="([^"]*)"', client.get("/").text)
    assert fields
    for _ in range(2):
        answer = client.post("/example", data={"idem_key": fields[1]})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert actions(app) == [("submit", "waiting")]
    with app.app_context():
        action = db.session.scalars(db.select(Action)).one()
        assert action.source.server.is_local and '"scheduler":"process"' in action.values
        assert db.session.scalars(db.select(SyncRun)).one().server_id == action.source.server_id
    assert "New job for this machine: submitted at the next sync" in client.get("/").text


def test_what_was_asked_for_is_said_in_words(app: Flask, client: FlaskClient, source_id: int) -> None:
    settings = {
        "command": "./train.sh",
        "arguments": ["--name", "a b"],
        "before": "module load cuda",
        "environment": {"OMP_NUM_THREADS": "4"},
        "remote_path": "~/train",
        "options": {"walltime": 10800, "memory": 262144, "cores": 64, "extra": ["--exclusive"]},
        "script": "#!/bin/sh\n# kept\n",
    }
    job = make(app, source_id, settings=json.dumps(settings), partition="gpu")
    page = html.unescape(client.get(f"/jobs/{job}").text)
    told = re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", page)
    assert told[:5] == [
        ("Time limit", "3\u00a0h"),
        ("Cores", "64"),
        ("Memory", "256 GB"),
        ("Partition", "gpu"),
        ("Also", "--exclusive"),
    ]
    assert "cd ~/train\nexport OMP_NUM_THREADS=4\nmodule load cuda\n./train.sh --name 'a b'" in page
    assert "#!/bin/sh\n# kept" in page


@pytest.mark.parametrize(
    "settings", ["", "[]", "{", '{"options": 7, "arguments": "x", "command": [1], "script": {}}']
)
def test_a_record_of_any_shape_has_a_page(
    app: Flask, client: FlaskClient, source_id: int, settings: str
) -> None:
    job = make(app, source_id, settings=settings)
    assert client.get(f"/jobs/{job}").status_code == 200


@pytest.mark.parametrize("number", [2**31, 10**30])
def test_a_number_that_no_job_can_have_is_not_found(client: FlaskClient, number: int) -> None:
    assert client.get(f"/jobs/{number}").status_code == 404
    assert client.post(f"/jobs/{number}/cancel").status_code == 404


@pytest.mark.parametrize(
    ("error", "age", "said"),
    [
        ("", 60, "Running"),
        ("", 1000, "Last seen running"),
        ("No answer.", 60, "Running"),
        ("No answer.", 240, "Last seen running"),
    ],
)
def test_what_nobody_confirms_any_more_is_what_was_last_seen(
    app: Flask, client: FlaskClient, error: str, age: float, said: str
) -> None:
    with app.app_context():
        source = rows.source(rows.server(error=error), confirmed_at=time.time() - age)
        job = rows.job(source, "train", limit=10800).id
    for page in ("/", f"/jobs/{job}"):
        text = client.get(page).text
        assert f">{said}</strong>" in text
        assert ('class="bar"' in text) is (said == "Running")


@pytest.mark.parametrize(
    ("reason", "exit_code", "said"),
    [
        ("exit_code", 3, "Failed with exit code 3"),
        ("", 3, "Failed with exit code 3"),
        ("exit_code", None, "Failed"),
        ("exit_code", 0, "Failed"),
        ("memory", 137, "Ran out of memory"),
    ],
)
def test_a_failure_says_its_exit_code_in_the_list_and_on_the_page(
    app: Flask, client: FlaskClient, source_id: int, reason: str, exit_code: int | None, said: str
) -> None:
    job = make(app, source_id, state="failed", reason=reason, exit_code=exit_code)
    assert f">{said}</strong>" in client.get("/").text
    card = re.search(r'<section class="fail.*?</section>', client.get(f"/jobs/{job}").text, re.S)
    assert card and f"<span>{said}</span>" in card[0]
    times = 1 if exit_code else 0
    assert len(re.findall(rf"xit code {exit_code}\b", card[0])) == times or exit_code == 0


@pytest.mark.parametrize(
    ("state", "outcome", "of_undo", "of_send"),
    [
        ("withdrawn", "Withdrawn.", "Undone. Nothing was sent.", "It was undone: nothing is sent."),
        ("sending", "", "Too late to undo: it is on its way to the server.", "It is being sent already."),
        (
            "unknown",
            "",
            "Too late to undo. Cancel sent, not confirmed yet. The next sync asks again.",
            "Cancel sent, not confirmed yet. The next sync asks again.",
        ),
        ("done", "Cancelled.", "Too late to undo. Cancelled.", "Cancelled."),
        (
            "refused",
            "That id now belongs to another job.",
            "Nothing to undo. Refused: That id now belongs to another job.",
            "Refused: That id now belongs to another job.",
        ),
        ("gave_up", "Given up after 7 days.", "Too late to undo. Given up after 7 days.", "Given up after 7 days."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "plain"])
def test_a_tap_on_an_old_page_says_how_the_action_really_stands(
    app: Flask, client: FlaskClient, source_id: int, headers: dict[str, str],
    state: str, outcome: str, of_undo: str, of_send: str,
) -> None:  # fmt: skip
    job = make(app, source_id)
    client.post(f"/jobs/{job}/cancel", data=form(client, "/", f"/jobs/{job}/cancel"))
    with app.app_context():
        begin_writing()
        action = db.session.scalars(db.select(Action)).one()
        action.state, action.outcome, action.ended_at = state, outcome, time.time()
        db.session.commit()
        address = f"/actions/{action.uuid}"
    for verb, said in (("undo", of_undo), ("send", of_send)):
        answer = client.post(f"{address}/{verb}", headers=headers)
        page = answer.text if headers else client.get("/").text
        assert f"<span hx-ignore>{said}</span>" in page
    assert actions(app) == [("cancel", state)]
    with app.app_context():
        assert db.session.scalar(db.select(SyncRun.id)) is None, "nothing waits, so no sync is asked for"


def pause(app: Flask, source_id: int) -> None:
    with app.app_context():
        sources.set_paused(source_id, True)


def sync_runs(app: Flask) -> list[str]:
    with app.app_context():
        return list(db.session.scalars(db.select(SyncRun.state)))


@pytest.mark.parametrize(
    ("state", "kind", "note", "in_row"),
    [
        (
            "running",
            "cancel",
            "Its source is paused. train is cancelled when you resume it.",
            "Paused: cancel when its source is resumed",
        ),
        (
            "failed",
            "resubmit",
            "Its source is paused. train is run again when you resume it.",
            "Paused: run again when its source is resumed",
        ),
    ],
)
def test_a_tap_on_a_job_of_a_paused_source_says_what_it_waits_for(
    app: Flask, client: FlaskClient, source_id: int, state: str, kind: str, note: str, in_row: str
) -> None:
    job = make(app, source_id, state=state)
    pause(app, source_id)
    fields = form(client, "/", f"/jobs/{job}/{kind}")
    part = client.post(f"/jobs/{job}/{kind}", data=fields, headers=HTMX).text
    toast = part[part.index('class="toast"') :]
    assert note in toast and ">Undo<" in toast and 'href="/servers#server-1"' in toast
    assert actions(app) == [(kind, "waiting")]
    for page in (client.get("/").text, client.get(f"/jobs/{job}").text):
        pending = re.search(r'<div class="pending".*?</div></div>', page, re.S)
        assert pending and in_row in pending[0] and ">Undo<" in pending[0]
        assert 'href="/servers#server-1"' in pending[0] and "Send now" not in pending[0]
        assert "next sync" not in page
    assert 'id="server-1"' in client.get("/servers").text


def test_send_now_on_an_old_page_of_a_paused_source_asks_for_no_sync(
    app: Flask, client: FlaskClient, source_id: int
) -> None:
    job = make(app, source_id)
    client.post(f"/jobs/{job}/cancel", data=form(client, "/", f"/jobs/{job}/cancel"))
    send = re.search(r'action="(/actions/[^"]*/send)"', client.get("/").text)
    assert send
    pause(app, source_id)
    answer = client.post(send[1], headers=HTMX).text
    assert "Not sent: its source is paused. It goes when you resume it." in answer
    assert sync_runs(app) == [] and actions(app) == [("cancel", "waiting")]


def test_what_is_not_confirmed_of_a_paused_source_is_asked_when_it_is_resumed(
    app: Flask, client: FlaskClient, source_id: int
) -> None:
    job = make(app, source_id)
    client.post(f"/jobs/{job}/cancel", data=form(client, "/", f"/jobs/{job}/cancel"))
    with app.app_context():
        begin_writing()
        db.session.scalars(db.select(Action)).one().state = "unknown"
        db.session.commit()
    pause(app, source_id)
    page = client.get("/").text
    assert (
        "Cancel sent, not confirmed yet. Its source is paused: it is asked about when you resume it" in page
    )
    assert 'href="/servers#server-1"' in page and "The next sync" not in page


def test_the_example_for_a_paused_source_says_that_it_waits(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        here = sources.source_here().id
    pause(app, here)
    fields = re.search(r'name="idem_key" value="([^"]*)"', client.get("/").text)
    assert fields
    part = client.post("/example", data={"idem_key": fields[1]}, headers=HTMX).text
    assert "on its way" not in part and part.count("submitted when its source is resumed") == 1
    assert part.count('href="/servers#server-1"') == 2, "beside the row, and in the note"
    assert sync_runs(app) == []


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, on_path: bool) -> None:
    """Both programs beside a Python in this folder, which PATH names or not."""
    folder.mkdir(parents=True)
    for name in ("python", "remoteweb", "remotejobs"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin" if on_path else "/usr/bin")


@pytest.mark.parametrize(
    ("folder", "on_path", "before"),
    [
        ("env/bin", True, ""),
        ("env/bin", False, "{tmp}/env/bin/"),
        ("my env/bin", False, "'{tmp}/my env/bin/"),
    ],
)
@pytest.mark.parametrize(
    ("page", "program", "arguments"),
    [
        ("/", "remotejobs", "submit --name example --scheduler process sh -c '"),
        ("/", "remoteweb", "update-database remoteJobs-vistrails user@server<"),
        ("/servers", "remoteweb", "update-database remoteJobs-vistrails user@server<"),
    ],
)
def test_a_command_on_a_page_works_where_the_person_types_it(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    folder: str, on_path: bool, before: str, page: str, program: str, arguments: str,
) -> None:  # fmt: skip
    installed(tmp_path / folder, monkeypatch, on_path)
    begin = before.format(tmp=tmp_path)
    quote = "'" if begin.startswith("'") else ""
    text = client.get(page).text.replace("&#39;", "'")
    assert f'<pre tabindex="0">{begin}{program}{quote} {arguments}' in text


def test_another_program_of_that_name_on_the_path_is_not_meant(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path / "old", monkeypatch, on_path=False)
    installed(tmp_path / "new", monkeypatch, on_path=False)
    monkeypatch.setenv("PATH", str(tmp_path / "old"))
    assert f'<pre tabindex="0">{tmp_path}/new/remoteweb update' in client.get("/servers").text


def test_where_nothing_is_beside_the_python_the_name_alone_is_shown(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert '<pre tabindex="0">remoteweb update-database' in client.get("/servers").text


def run_done(app: Flask, job: int, new_key: str) -> None:
    """The waiting resubmission, sent and done as a sync settles it."""
    with app.app_context():
        server_id = db.session.get_one(Job, job).server_id
        begin_writing()
        db.session.scalars(db.select(Action).where(Action.state == "waiting")).one().not_before = 0.0
        lease = leases.take(server_id, "here:1:x", ignore_interval=True)
        db.session.commit()
        (source,) = db.session.scalars(db.select(rows.Source)).all()
        sent = sending.claim(lease, [source.id])
        key = JobKey.parse(new_key)
        told = {sent[0].request.uuid: Outcome(sent[0].request.uuid, "done", "Submitted.", key=key)}
        outcomes.settle(lease, sent, told, {source.app: SourceResult(source.app)}, set())


@pytest.mark.parametrize("change_before", [False, True], ids=["unchanged", "changed-meanwhile"])
@pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "plain"])
def test_a_second_run_again_from_an_old_page_gives_the_first_one_back(
    app: Flask, client: FlaskClient, source_id: int, headers: dict[str, str], change_before: bool
) -> None:
    hash_ = "a" * 32
    job = make(app, source_id, state="failed", hash=hash_)
    address = f"/jobs/{job}/resubmit"
    first = form(client, "/", address)
    if change_before:  # the first tap comes from the older page, the second from the newer one
        with app.app_context():
            rows.change(db.session.get_one(Job, job), raw="NEW_WORD")
    second, third = form(client, "/", address), form(client, f"/jobs/{job}", address)
    client.post(address, data=first, headers=HTMX)
    run_done(app, job, f"{hash_}_2")

    def said_to(fields: dict[str, str]) -> str:
        answer = client.post(address, data=fields, headers=headers)
        return answer.text if headers else client.get("/").text

    assert "It was run again already, as run 2, which the next sync shows." in said_to(second)
    again = make(app, source_id, hash=hash_, n=2)
    page = said_to(third)
    assert "It was run again already, as run 2." in page
    assert f'href="/jobs/{again}">Open run 2</a>' in page
    assert actions(app) == [("resubmit", "done")]


def test_a_page_that_shows_the_new_run_can_ask_for_one_more(
    app: Flask, client: FlaskClient, source_id: int
) -> None:
    job = make(app, source_id, state="failed", hash="a" * 32)
    address = f"/jobs/{job}/resubmit"
    client.post(address, data=form(client, f"/jobs/{job}", address))
    run_done(app, job, f"{'a' * 32}_2")
    client.post(address, data=form(client, f"/jobs/{job}", address))
    assert actions(app) == [("resubmit", "done"), ("resubmit", "waiting")]


@pytest.mark.parametrize("state", ["withdrawn", "refused", "gave_up"])
def test_what_was_not_done_can_be_asked_for_again_from_the_same_revision(
    app: Flask, client: FlaskClient, source_id: int, state: str
) -> None:
    job = make(app, source_id, state="failed")
    address = f"/jobs/{job}/resubmit"
    first, second = form(client, "/", address), form(client, "/", address)
    client.post(address, data=first)
    with app.app_context():
        begin_writing()
        action = db.session.scalars(db.select(Action)).one()
        action.state, action.outcome, action.ended_at = state, "No.", time.time()
        db.session.commit()
    same = client.post(address, data=first, headers=HTMX).text
    assert "Running again" not in same and actions(app) == [("resubmit", state)]
    client.post(address, data=second)
    assert actions(app) == [("resubmit", state), ("resubmit", "waiting")]
