"""A sync of this machine: real jobs, a real exchange, a real database."""

import itertools
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event
from web import rows
from web.syncing import APP, Registry, again, ask, is_alive, job, submit, sync, wait_for

from remotejobs.errors import ServerProblem
from remotejobs.shell import LocalShell
from remoteweb import actions, changes, confirming, sources, tails
from remoteweb.database import begin_writing, db
from remoteweb.groups import Group
from remoteweb.models import Action, Event, Job, Source, SyncRun

HASH = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


def source(app: str = APP) -> Source:
    db.session.rollback()
    found = sources.find_here(app)
    assert found
    return found


def test_a_submitted_job_is_in_the_table_with_its_state_and_who_says_so() -> None:
    key = submit("sleep 60", name="train")
    result = sync()
    row = job(key)
    assert (row.name, row.state, row.evidence, row.open) == ("train", "running", "queue", True)
    assert (row.group, row.scheduler, row.attempt) == (Group.RUNNING, "process", 1)
    assert row.scheduler_id.isdecimal() and row.submitted and row.change > 0
    assert [(one.app, one.jobs, one.changed) for one in result.sources] == [(APP, 1, 1)]
    os.killpg(int(row.scheduler_id), signal.SIGKILL)


READS_ALL = re.compile(r"SCAN job\b|SEARCH job\b.*\((source_id|server_id|owner_id)=\?( AND key>\?)?\)\Z")


@pytest.mark.sqlite
def test_a_sync_that_finds_nothing_new_does_not_read_the_jobs_that_are_over() -> None:
    """SQLite's own plan; it has no statistics, as nobody makes any."""
    wait_for(submit("true"), "done")
    of = source()
    begin_writing()
    db.session.add_all(rows.unsaved(of, f"over-{number}", "done", open=False) for number in range(1500))
    db.session.commit()
    while sync().sources[0].changed:
        continue
    tails.ask(db.session.scalars(db.select(Job).limit(1)).one())
    asked: list[tuple[str, Any]] = []
    event.listen(
        db.engine,
        "before_cursor_execute",
        lambda _c, _cursor, text, values, *_: asked.append((text, values)),
    )
    sync()
    looks = [(text, values) for text, values in asked if re.search(r"FROM job\b", text)]
    assert looks
    for text, values in looks:
        plan = db.session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all()
        assert not [step[-1] for step in plan if READS_ALL.search(step[-1])], (text, plan)


def test_a_job_that_ends_gets_its_exit_code_an_event_and_a_new_revision() -> None:
    key = submit("sleep 0.5; exit 7")
    sync()
    first = job(key).revision
    row = wait_for(key, "failed")
    assert (row.exit_code, row.evidence, row.reason) == (7, "exit_file", "exit_code")
    assert row.revision > first and row.group == Group.NEEDS_YOU and row.ended
    steps = db.session.scalars(db.select(Event).where(Event.job_id == row.id).order_by(Event.id)).all()
    assert next(event.old_state for event in steps) == ""
    assert [event.state for event in steps][-1] == "failed"
    assert all(later.old_state == earlier.state for earlier, later in itertools.pairwise(steps))


def test_a_sync_in_which_nothing_changed_writes_no_job() -> None:
    key = submit("exit 0")
    wait_for(key, "done")
    sync()
    before, tag = job(key).revision, changes.tag()
    result = sync()
    assert result.sources[0].changed == 0
    assert (job(key).revision, changes.tag()) == (before, tag)


def test_a_sync_in_which_nothing_changed_moves_the_source_at_most_once_a_minute() -> None:
    key = submit("exit 0")
    wait_for(key, "done")
    sync()
    shown, tag = source().shown_at, changes.tag()
    time.sleep(0.05)
    sync()
    assert source().shown_at == shown and source().confirmed_at != shown
    row = source()
    row.shown_at = (row.shown_at or 0.0) - confirming.SHOWN_SECONDS
    db.session.commit()
    sync()
    assert source().shown_at == source().confirmed_at
    assert changes.tag() != tag and source().change == int(changes.tag().partition(".")[2])


def test_two_sources_of_a_server_are_one_command() -> None:
    keys = [submit(f"echo {app}", app=app) for app in ("one", "two")]
    for app in ("one", "two"):
        sync([app])
    shell = LocalShell()
    result = sync(through=lambda _: shell)
    assert shell.execs == 1
    assert {one.app: one.jobs for one in result.sources} == {"one": 1, "two": 1}
    assert {job(key).source.app for key in keys} == {"one", "two"}


def test_a_paused_source_is_left_alone_unless_it_is_named() -> None:
    for app in ("one", "two"):
        submit("exit 0", app=app)
        sync([app])
    sources.set_paused(source("one").id, True)
    assert [one.app for one in sync().sources] == ["two"]
    assert [one.app for one in sync(["one"]).sources] == ["one"]


def test_a_cancel_ends_the_real_process() -> None:
    key = submit("sleep 60")
    sync()
    action = ask(job(key), "cancel")
    result = sync()
    assert (again(action).state, action.outcome) == ("done", "Cancelled.")
    assert result.sources[0].cancelled == 1 and "1 cancelled" in result.sentence
    row = wait_for(key, "cancelled")
    assert (row.reason, row.group) == ("by_user", Group.ENDED)
    assert not is_alive(int(row.scheduler_id))


def test_a_cancel_of_what_has_ended_is_a_success_that_counts_as_none() -> None:
    key = submit("exit 0")
    wait_for(key, "done")
    action = ask(job(key), "cancel")
    result = sync()
    assert (again(action).state, result.sources[0].cancelled) == ("done", 0)
    assert "already ended" in action.outcome


def test_a_resubmission_is_the_next_run_and_the_failure_stops_asking() -> None:
    key = submit("exit 3")
    assert wait_for(key, "failed").group == Group.NEEDS_YOU
    action = ask(job(key), "resubmit")
    sync()
    assert again(action).state == "done"
    second = action.new_key
    assert second == key.removesuffix("_1") + "_2"
    assert wait_for(second, "failed").group == Group.NEEDS_YOU
    assert job(key).group == Group.ENDED


def test_a_submission_that_waits_becomes_a_job() -> None:
    from remotejobs import RemoteJobSubmitter

    values = RemoteJobSubmitter(APP).create_settings(None, None, "true", name="example", scheduler="process")
    action = actions.ask_submission(sources.source_here(), values, "button-1")
    result = sync()
    assert again(action).state == "done" and result.sources[0].submitted == 1
    assert wait_for(action.new_key, "done").name == "example"


def test_a_submission_that_cannot_be_said_is_refused_with_a_sentence() -> None:
    action = actions.ask_submission(sources.source_here(), {"scheduler": "auto"}, "button-1")
    sync()
    assert again(action).state == "refused"
    assert action.outcome == "Not sent: its settings do not name a scheduler."


def test_an_action_waits_until_its_time_for_undo_is_over() -> None:
    key = submit("sleep 60")
    sync()
    action = actions.ask(job(key), "cancel", "button-1", 1)
    sync()
    assert (again(action).state, action.tries) == ("waiting", 0)
    assert actions.withdraw(action)
    action = ask(job(key), "cancel", "button-2")
    sync()
    assert again(action).state == "done"


def test_what_was_withdrawn_is_never_sent() -> None:
    key = submit("sleep 60")
    sync()
    action = ask(job(key), "cancel")
    assert actions.withdraw(action)
    sync()
    assert again(action).state == "withdrawn" and job(key).state == "running"
    os.killpg(int(job(key).scheduler_id), signal.SIGKILL)


def test_a_cancel_withdraws_what_else_waits_for_that_job() -> None:
    key = submit("sleep 30")
    sync()
    run_again = ask(job(key), "resubmit", "button-1")
    cancel = ask(job(key), "cancel", "button-2")
    assert (again(run_again).state, run_again.outcome) == (
        "withdrawn",
        "Withdrawn: the job was cancelled instead.",
    )
    sync()
    assert (again(cancel).state, again(run_again).state) == ("done", "withdrawn")
    assert (job(key).state, db.session.scalar(db.select(db.func.count(Job.id)))) == ("cancelled", 1)


def test_an_action_of_last_week_is_given_up_and_says_so() -> None:
    key = submit("sleep 60")
    sync()
    action = ask(job(key), "cancel")
    action.asked_at -= 8 * 86400
    db.session.commit()
    sync()
    assert again(action).state == "gave_up" and "nothing here says that it was ever begun" in action.outcome
    assert job(key).state == "running"
    os.killpg(int(job(key).scheduler_id), signal.SIGKILL)


def test_nothing_is_deleted_by_a_sync(home: Path) -> None:
    key = submit("exit 0")
    wait_for(key, "done")
    shutil.rmtree(home / f".{APP}")
    sync()
    assert job(key).state == "done"


def test_a_folder_of_something_else_is_an_error_and_no_source(home: Path) -> None:
    (home / ".config-of-mine").mkdir()
    (home / ".config-of-mine" / "private").write_text("x")
    with pytest.raises(ServerProblem, match="belongs to something else"):
        sync(["config-of-mine"])
    assert sources.find_here("config-of-mine") is None
    run = db.session.scalars(db.select(SyncRun)).one()
    assert (run.state, "belongs to something else" in run.sentence) == ("failed", True)


def test_a_source_that_fails_does_not_keep_the_others_from_being_read(home: Path) -> None:
    for app in ("one", "two"):
        submit("exit 0", app=app)
        sync([app])
    (home / ".one" / "version").write_text("remotejobs 99\n")
    key = submit("exit 0", app="two")
    result = sync()
    assert "newer version" in {one.app: one.error for one in result.sources}["one"]
    assert job(key).source.error == "" and "newer version" in source("one").error
    assert (source("one").confirmed_at or 0) < (source("two").confirmed_at or 0)
    (home / ".one" / "version").write_text("remotejobs 1\n")
    sync()
    assert source("one").error == ""


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("two\nlines", "two lines"),
        ("escape \x1b[31m code", "escape \ufffd[31m code"),
        ("nul \x00 byte", "nul \ufffd byte"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("x" * 1000, "x" * 199 + "…"),
        ("", "sh"),
        (None, "sh"),
        (["a", "list"], "['a', 'list']"),
        (17, "17"),
    ],
)
def test_a_hostile_name_is_shown_harmlessly(home: Path, name: object, shown: str) -> None:
    Registry(home).settings(f"{HASH}_1", name=name, command="sh", scheduler="process")
    sync()
    assert job(f"{HASH}_1").name == shown


@pytest.mark.parametrize("code", ["1" * 40, "-1", "x", "", "0x10", "١"])
def test_a_number_that_is_none_ends_nothing(home: Path, code: str) -> None:
    registry = Registry(home)
    registry.settings(f"{HASH}_1", name="odd", scheduler="process")
    registry.fact(f"{HASH}_1", "exit.1", code=code, time="9" * 40)
    sync()
    assert job(f"{HASH}_1").exit_code is None


def test_strange_settings_are_kept_as_text_that_every_database_takes(home: Path) -> None:
    registry = Registry(home)
    registry.settings(
        f"{HASH}_1", name="a", deep={"x": ["\x00", "\ud800", 1e308, 10**40]}, command=["not", "text"]
    )
    registry.fact(f"{HASH}_1", "id", scheduler="process", submitted="1e999", incarnation="\x00" * 200)
    sync()
    row = job(f"{HASH}_1")
    assert "\x00" not in row.settings + row.facts + row.incarnation
    assert row.submitted is None
    row.settings.encode()


def test_half_written_files_are_counted_and_the_rest_is_read(home: Path) -> None:
    registry = Registry(home)
    registry.settings(f"{HASH}_1", name="whole")
    (registry.folder / "settings" / f"{'f' * 32}_1.json").write_text('{"name": "cu')
    (registry.folder / "settings" / "hostile name.json").write_text("{}")
    result = sync()
    assert job(f"{HASH}_1").name == "whole"
    assert (result.sources[0].unreadable, result.sources[0].skipped) == (1, 1)
    (registry.folder / "settings" / f"{'f' * 32}_1.json").write_text('{"name": "cured"}')
    result = sync()
    assert job(f"{'f' * 32}_1").name == "cured" and result.sources[0].unreadable == 0


def test_a_late_id_belongs_to_the_row_that_is_there(home: Path) -> None:
    registry = Registry(home)
    registry.settings(f"{HASH}_1", name="slow", scheduler="process")
    sync()
    registry.fact(f"{HASH}_1", "id", scheduler="process", cluster="elsewhere", id="12", incarnation="a" * 16)
    sync()
    row = job(f"{HASH}_1")  # one() of it
    assert (row.incarnation, row.scheduler_id, row.cluster) == ("a" * 16, "12", "elsewhere")


def test_a_registry_that_was_made_anew_counts_from_one_again_and_loses_nothing(home: Path) -> None:
    registry = Registry(home)
    registry.settings(f"{HASH}_1", name="first life")
    registry.fact(f"{HASH}_1", "id", scheduler="process", cluster="elsewhere", id="12", incarnation="a" * 16)
    sync()
    shutil.rmtree(registry.folder)
    registry = Registry(home)
    registry.settings(f"{HASH}_1", name="second life")
    registry.fact(f"{HASH}_1", "id", scheduler="process", cluster="elsewhere", id="12", incarnation="b" * 16)
    registry.settings(f"{HASH}_2", name="third")  # names are what a sync compares
    sync()
    rows = db.session.scalars(db.select(Job).where(Job.key == f"{HASH}_1").order_by(Job.id)).all()
    assert [(row.name, row.incarnation[0]) for row in rows] == [("first life", "a"), ("second life", "b")]


def test_a_failure_of_last_week_stops_asking(home: Path) -> None:
    key = submit("exit 3")
    wait_for(key, "failed")
    row = job(key)
    row.open = False
    db.session.commit()
    facts = home / f".{APP}" / "facts" / f"{key}.exit.1"
    text = facts.read_text().splitlines()
    facts.unlink()
    old = int(time.time()) - 8 * 86400
    facts.write_text("\n".join([text[0], f"time={old}", "end", ""]))
    row = job(key)
    row.facts = row.facts.replace(text[1].removeprefix("time="), str(old))
    row.ended = float(old)
    db.session.commit()
    sync()
    assert job(key).group == Group.ENDED


def test_many_records_come_in_small_transactions_and_once(home: Path) -> None:
    registry = Registry(home)
    for number in range(1, 2301):
        registry.settings(f"{number:032x}_1", name=f"job {number}")
    seen: list[tuple[str, int, int | None]] = []
    result = sync(listener=lambda stage, done, total: seen.append((stage, done, total)))
    assert (result.sources[0].jobs, result.sources[0].changed) == (2300, 2300)
    writing = [(done, total) for stage, done, total in seen if stage == "writing"]
    assert writing[0] == (0, 2300) and writing[-1][0] == 2300
    assert max(later[0] - earlier[0] for earlier, later in itertools.pairwise(writing)) <= 500
    assert sync().sources[0].changed == 0


def test_the_run_tells_how_it_went() -> None:
    submit("exit 0")
    sync(asked_by="command")
    run = db.session.scalars(db.select(SyncRun)).one()
    assert (run.state, run.asked_by, run.stage) == ("done", "command", "")
    assert run.sentence == "1 job, 1 changed." and run.ended_at and f'"app":"{APP}"' in run.results


def test_a_sync_of_the_whole_server_answers_who_waits_for_one_and_a_named_one_does_not() -> None:
    from remoteweb.sync import requests

    submit("exit 0")
    sync()
    waiting = requests.ask(sources.this_machine()).id
    sync([APP])
    assert db.session.get_one(SyncRun, waiting, populate_existing=True).state == "waiting"
    sync()
    run = db.session.get_one(SyncRun, waiting, populate_existing=True)
    assert (run.state, run.asked_by) == ("done", "person")


def test_actions_of_a_forgotten_source_go_with_it() -> None:
    key = submit("sleep 30")
    sync()
    row = job(key)
    os.killpg(int(row.scheduler_id), signal.SIGKILL)
    ask(row, "cancel")
    tag = changes.tag()
    assert sources.forget(source().id)
    assert not db.session.scalars(db.select(Job)).all() + db.session.scalars(db.select(Action)).all()
    assert changes.tag().split(".")[0] != tag.split(".")[0], "open pages have to load anew"
