"""What goes wrong in a sync, and what it leaves behind: sentences, back-off, actions that are sent again."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cluster.postgresql import PostgreSQL
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from web.syncing import APP, Registry, again, ask, eventually, is_alive, job, submit, sync

from remotejobs.answer import Answer, Chunk, Outcome, SourceAnswer
from remotejobs.errors import (
    AnswerBroken,
    LoginRefused,
    RemoteJobsError,
    ServerProblem,
    TimedOut,
    Unreachable,
)
from remotejobs.exchange import Cancel
from remotejobs.shell import LocalShell
from remoteweb import (
    actions,
    changes,
    collector,
    create_app,
    intake,
    leases,
    outcomes,
    runs,
    sending,
    sources,
    trouble,
)
from remoteweb.database import begin_writing, db
from remoteweb.leases import Busy, LeaseLost, TooSoon
from remoteweb.models import Job, Server, SyncRun
from remoteweb.sources import SourceGone
from remoteweb.upgrade import upgrade_database


@pytest.fixture(autouse=True)
def context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


class BrokenShell(LocalShell):
    """Fails before the command was sent (`sent` False), or after the server has carried it out."""

    def __init__(self, error: BaseException, *, sent: bool) -> None:
        super().__init__()
        self.error, self.sent = error, sent

    def run(self, *arguments: Any, **options: Any) -> Any:
        if self.sent:
            super().run(*arguments, **options).close()
        raise self.error


def broken(error: BaseException, *, sent: bool = False) -> Callable[[Server], LocalShell]:
    return lambda _: BrokenShell(error, sent=sent)


def fail(error: BaseException, *, sent: bool = False) -> None:
    with pytest.raises(type(error)):
        sync(through=broken(error, sent=sent))


def here() -> Server:
    db.session.rollback()
    return db.session.scalars(db.select(Server).execution_options(populate_existing=True)).one()


def last_run() -> SyncRun:
    db.session.rollback()
    return db.session.scalars(db.select(SyncRun).order_by(SyncRun.id.desc()).limit(1)).one()


def test_a_server_that_is_not_reached_says_so_since_when_and_waits_longer_each_time() -> None:
    submit()
    sync()
    waits = []
    for failures in (1, 2, 3):
        fail(Unreachable("No route to it."))
        server = here()
        assert (server.failures, server.error, server.needs_person) == (failures, "No route to it.", "")
        waits.append(server.not_before - time.time())
    assert 5 < waits[0] < waits[1] < waits[2]
    since = here().error_since
    fail(TimedOut("It did not answer."))
    assert here().error_since == since
    assert (last_run().state, last_run().sentence) == ("failed", "It did not answer.")


@pytest.mark.parametrize("is_login", [False, True])
def test_the_wait_has_an_end_and_is_not_the_same_for_all(is_login: bool) -> None:
    longest = trouble.LONGEST_LOGIN_WAIT if is_login else trouble.LONGEST_WAIT
    waits = {trouble.wait(1000, is_login=is_login) for _ in range(20)}
    assert len(waits) > 1 and all(longest * 0.7 < wait <= longest for wait in waits)


def test_what_recovers_forgets_its_trouble_and_tells_the_pages() -> None:
    submit()
    sync()
    tag = changes.tag()
    fail(Unreachable("No route to it."))
    assert changes.tag() != tag, "the line of the source says something else"
    tag = changes.tag()
    sync()
    server = here()
    assert (server.failures, server.error, server.error_since, server.not_before) == (0, "", None, 0.0)
    assert changes.tag() != tag


def test_a_refused_login_waits_for_a_person_and_a_sync_that_works_clears_it() -> None:
    submit()
    sync()
    fail(LoginRefused("No key was accepted."))
    assert here().needs_person == "No key was accepted."
    sync()
    assert here().needs_person == ""


def test_a_mistake_of_ours_is_noted_without_its_details_and_raised(caplog: pytest.LogCaptureFixture) -> None:
    submit()
    sync()
    fail(ZeroDivisionError("secret words"))
    assert "ZeroDivisionError" in last_run().sentence and "secret words" not in last_run().sentence
    assert here().failures == 1 and "secret words" not in here().error
    assert here().lease_owner == ""


def test_an_interrupt_frees_the_server_and_is_no_trouble_of_it() -> None:
    submit()
    sync()
    fail(KeyboardInterrupt())
    assert (here().lease_owner, here().failures) == ("", 0)
    assert last_run().sentence.startswith("Interrupted.")


def test_an_action_that_cannot_have_been_sent_waits_again_and_can_be_undone() -> None:
    key = submit("sleep 30")
    sync()
    action = ask(job(key), "cancel")
    fail(LoginRefused("No key was accepted."))
    assert (again(action).state, action.outcome) == ("waiting", "")
    sync()
    assert again(action).state == "done"


def test_an_action_whose_answer_was_lost_is_unknown_and_settled_once_by_the_next_sync() -> None:
    key = submit("exit 3")
    sync()
    action = ask(job(key), "resubmit")
    fail(TimedOut("It did not answer."), sent=True)
    assert again(action).state == "unknown" and "not known yet" in action.outcome
    uuid = action.uuid
    sync()
    assert (again(action).state, action.uuid, action.tries) == ("done", uuid, 2)
    sync()
    rows = db.session.scalars(db.select(Job)).all()
    assert len(rows) == 2, "the lost answer was of the one resubmission that there is"


def test_an_action_that_a_killed_sync_was_sending_is_sent_again() -> None:
    key = submit("sleep 30")
    sync()
    action = ask(job(key), "cancel")
    action.state, action.lease_until, action.fence = "sending", time.time() + 900, 1
    db.session.commit()
    sync()
    assert again(action).state == "done"


def say_not_started(monkeypatch: pytest.MonkeyPatch, uuid: str) -> None:
    def change(answer: Answer) -> None:
        answer.outcomes = {uuid: Outcome(uuid, "not_started", "There was no time left in this sync.")}

    changed_answer(monkeypatch, change)


@pytest.mark.parametrize("second", ["not reached", "no time left"])
def test_what_an_earlier_try_may_have_done_can_no_more_be_undone(
    monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    key = submit("exit 3")
    sync()
    action = ask(job(key), "resubmit")
    fail(TimedOut("It did not answer."), sent=True)  # it is done, and nobody was told
    if second == "not reached":
        fail(Unreachable("No route to it."))
    else:
        with monkeypatch.context() as patch:
            say_not_started(patch, action.uuid)
            sync()
    assert again(action).state == "unknown" and "not known yet" in action.outcome
    assert not actions.withdraw(action)
    ask(job(key), "cancel", "button-2")
    assert again(action).state == "unknown", "a cancel takes back only what waits"
    uuid = action.uuid
    sync()
    assert (again(action).state, action.uuid, action.new_key) == ("done", uuid, key[:-1] + "2")
    assert len(db.session.scalars(db.select(Job)).all()) == 2


@pytest.mark.parametrize("second", ["not reached", "no time left"])
def test_what_no_try_can_have_done_can_be_undone_after_any_number_of_them(
    monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    key = submit("exit 3")
    sync()
    action = ask(job(key), "resubmit")
    fail(Unreachable("No route to it."))
    if second == "not reached":
        fail(Unreachable("No route to it."))
    else:
        say_not_started(monkeypatch, action.uuid)
        sync()
    assert (again(action).state, action.tries) == ("waiting", 0)
    assert actions.withdraw(action)


def test_what_a_killed_sync_may_have_sent_stays_unknown_when_the_server_is_not_reached() -> None:
    key = submit("exit 3")
    sync()
    action = ask(job(key), "resubmit")
    action.state, action.fence, action.tries = "sending", 1, 1
    db.session.commit()
    fail(Unreachable("No route to it."))
    assert again(action).state == "unknown"


def changed_answer(monkeypatch: pytest.MonkeyPatch, change: Callable[[Answer], None]) -> None:
    """The real exchange, with one thing in its answer changed."""
    real = collector.exchange

    def exchange(*arguments: Any) -> Answer:
        answer = real(*arguments)
        change(answer)
        return answer

    monkeypatch.setattr(collector, "exchange", exchange)


@pytest.mark.parametrize(
    ("said", "state", "outcome"),
    [
        ("refused", "refused", "The id is another job's now."),
        ("unknown", "unknown", "The id is another job's now."),
        ("not_started", "waiting", "The id is another job's now."),
        ("surprise", "unknown", "The id is another job's now."),
        (None, "unknown", "It is not known yet whether the server did it."),
    ],
)
def test_what_the_server_says_of_an_action(
    monkeypatch: pytest.MonkeyPatch, said: str | None, state: str, outcome: str
) -> None:
    key = submit("sleep 30")
    sync()
    action = ask(job(key), "cancel")
    uuid = action.uuid

    def change(answer: Answer) -> None:
        answer.outcomes = {uuid: Outcome(uuid, said, "The id is another job's now.")} if said else {}

    changed_answer(monkeypatch, change)
    sync()
    assert (again(action).state, action.outcome.startswith(outcome)) == (state, True)
    assert (action.ended_at is None) == (state in ("unknown", "waiting"))


@pytest.mark.parametrize(
    ("said", "state"),
    [("refused", "unknown"), ("not_started", "unknown"), ("unknown", "unknown"), ("done", "done")],
)
def test_of_a_folder_that_could_not_be_read_only_what_was_done_counts(
    monkeypatch: pytest.MonkeyPatch, said: str, state: str
) -> None:
    key = submit("sleep 30")
    sync()
    action = ask(job(key), "cancel")
    uuid = action.uuid

    def change(answer: Answer) -> None:
        answer.sources[APP].error = "Its folder cannot be read."
        answer.outcomes = {uuid: Outcome(uuid, said, "There is no record of this job.", code="no-job")}

    with monkeypatch.context() as patch:
        changed_answer(patch, change)
        sync()
    assert (again(action).state, action.ended_at is None) == (state, state == "unknown")
    if state == "unknown":
        assert "could not be read" in action.outcome and action.evidence == ""
        sync()
        assert (again(action).state, action.uuid) == ("done", uuid)


def test_a_queue_that_was_cut_changes_no_state_and_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    key = submit("sleep 30")
    sync()
    confirmed = job(key).source.confirmed_at
    pid = int(job(key).scheduler_id)

    def cut(answer: Answer) -> None:
        for queue in answer.queues:
            queue.complete, queue.lines = False, []

    changed_answer(monkeypatch, cut)
    sync()
    row = job(key)
    assert (row.state, row.evidence) == ("running", "queue")
    assert row.source.confirmed_at == confirmed
    assert row.source.error == "process on the server did not answer. The last known states are shown."
    assert is_alive(pid)


def test_an_answer_that_lacks_a_source_is_used_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    submit()
    sync()
    changed_answer(monkeypatch, lambda answer: answer.sources.clear())
    with pytest.raises(RemoteJobsError, match="does not speak of"):
        sync()


def test_a_sync_that_another_one_took_over_from_writes_nothing_more(
    monkeypatch: pytest.MonkeyPatch, home: Any
) -> None:
    registry = Registry(home)
    for number in range(1, 1201):
        registry.settings(f"{number:032x}_1", name=f"job {number}")
    calls = []

    def take_over(stage: str, done: int, total: int | None) -> None:
        if stage == "writing" and done and not calls:
            calls.append(done)
            begin_writing()
            server = db.session.scalars(db.select(Server)).one()
            server.fence += 1
            server.lease_owner = "elsewhere:1:x"
            db.session.commit()

    with pytest.raises(LeaseLost):
        sync(listener=take_over)
    assert db.session.scalar(db.select(db.func.count()).select_from(Job)) == calls[0]
    server = here()
    assert (server.lease_owner, server.failures, server.error) == ("elsewhere:1:x", 0, "")
    server.lease_owner = ""
    db.session.commit()
    assert sync().sources[0].jobs == 1200, "the cursor spoke only of what had been written"


def test_what_a_sync_heard_of_its_actions_is_not_written_once_it_was_overtaken() -> None:
    """Also while the later one has not come to them: what it will be told is newer."""
    key = submit("sleep 30")
    sync()
    action, server = ask(job(key), "cancel"), here()
    begin_writing()
    lease = leases.take(server.id, "me:1:x", ignore_interval=True)
    db.session.commit()
    sent = sending.claim(lease, [source.id for source in here().sources])
    assert [one.id for one in sent] == [again(action).id]
    here().fence += 1
    db.session.commit()
    heard = {action.uuid: Outcome(action.uuid, "done", "Cancelled.")}
    with pytest.raises(LeaseLost):
        outcomes.settle(lease, sent, heard, {APP: runs.SourceResult(APP)}, set())
    assert again(action).state == "sending"


def test_that_the_scheduler_was_told_stays_known_whatever_a_later_sync_could_not_find_out() -> None:
    key = submit("sleep 30")
    sync()
    action, known = ask(job(key), "cancel"), [source.id for source in here().sources]
    said = []
    for code in ("told", "queue-silent", "told"):
        begin_writing()
        lease = leases.take(here().id, "me:1:x", ignore_interval=True)
        db.session.commit()
        sent = sending.claim(lease, known)
        said += [one.request.sent for one in sent if isinstance(one.request, Cancel)]
        heard = {action.uuid: Outcome(action.uuid, "unknown", "Not yet.", code=code)}
        outcomes.settle(lease, sent, heard, {APP: runs.SourceResult(APP)}, set())
        begin_writing()
        leases.drop(lease)
        db.session.commit()
    assert said == [False, True, True]


def test_a_sync_that_was_overtaken_judges_no_job_by_its_older_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    key = submit("sleep 60")
    eventually(lambda: bool(sync()) and job(key).started is not None)
    os.killpg(int(job(key).scheduler_id), signal.SIGKILL)
    real = outcomes.settle

    def overtaken(*arguments: Any) -> None:
        real(*arguments)
        here().fence += 1
        db.session.commit()

    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "settle", overtaken)
        with pytest.raises(LeaseLost):
            sync()
    before = job(key)
    assert (before.state, before.settling) == ("running", False)
    here().lease_until = 0.0
    db.session.commit()
    sync()
    assert job(key).settling


def test_two_syncs_of_one_server_never_run_at_once() -> None:
    submit()
    sync()
    begin_writing()
    lease = leases.take(here().id, "elsewhere:77:x", ignore_interval=True)
    db.session.commit()
    with pytest.raises(Busy, match="process 77 on elsewhere"):
        sync()
    begin_writing()
    leases.give_back(lease)
    db.session.commit()
    sync()


@pytest.fixture
def on_postgresql(postgresql: PostgreSQL) -> Iterator[None]:
    app = create_app({"SQLALCHEMY_DATABASE_URI": postgresql.new_database()})
    upgrade_database(app)
    with app.app_context():
        yield
        db.session.remove()
        db.engine.dispose()


@pytest.mark.usefixtures("on_postgresql")
def test_no_other_sync_can_begin_between_the_look_at_the_fence_and_the_commit() -> None:
    server_id = sources.server("me", "alps.example.org", 22).id
    begin_writing()
    lease = leases.take(server_id, "me:1:x", ignore_interval=True)
    db.session.commit()
    begin_writing()
    leases.still_ours(lease)
    with db.engine.connect() as elsewhere:
        elsewhere.execute(text("SET lock_timeout = '300ms'"))
        elsewhere.commit()
        # A person's request for a sync is a row that only speaks of the server: it goes in without a wait.
        asked = {"server_id": server_id, "asked_by": "person", "asked_at": time.time()}
        elsewhere.execute(db.insert(SyncRun).values(**asked))
        elsewhere.commit()
        with pytest.raises(OperationalError, match="lock timeout"):
            elsewhere.execute(db.update(Server).values(fence=Server.fence + 1))


def test_the_lease_of_a_holder_that_went_away_runs_out() -> None:
    submit()
    sync()
    server = here()
    server.lease_owner, server.lease_until = "elsewhere:77:x", time.time() - 1
    db.session.commit()
    sync()
    assert here().lease_owner == ""


def test_the_lease_of_a_process_of_this_machine_that_died_is_not_waited_for() -> None:
    submit()
    sync()
    host, _, word = leases.new_owner().split(":")
    server = here()
    server.lease_owner, server.lease_until = f"{host}:{2**22 + 1}:{word}", time.time() + 100
    db.session.commit()
    sync()


def test_a_long_sync_keeps_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.05)
    submit()
    sync()
    begin_writing()
    lease = leases.take(here().id, "me:1:x", ignore_interval=True)
    db.session.commit()
    first = here().lease_until
    with leases.kept(lease):
        time.sleep(0.5)
        assert here().lease_until > first
    db.session.rollback()


def test_one_that_was_overtaken_keeps_no_lease_but_its_own_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one may have died since: its lease has to run out."""
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.05)
    submit()
    sync()
    begin_writing()
    lease = leases.take(here().id, "me:1:x", ignore_interval=True)
    db.session.commit()
    server = here()
    server.fence += 1
    server.lease_owner, server.lease_until = "elsewhere:77:y", time.time() + 7
    db.session.commit()
    until = here().lease_until
    with leases.kept(lease):
        time.sleep(0.5)
        assert here().lease_until == until
    db.session.rollback()


def test_the_shortest_interval_holds_and_a_person_waits_for_its_end() -> None:
    submit()
    sync()
    server = here()
    server.min_interval = 1.5
    db.session.commit()
    with pytest.raises(TooSoon):
        sync(ignore_interval=False, wait=False)
    stages = []
    began = time.monotonic()
    before = here().last_try_at or 0.0
    sync(ignore_interval=False, listener=lambda stage, *_: stages.append(stage))
    assert stages[0] == "waiting" and time.monotonic() - began > 0.5
    assert (here().last_try_at or 0.0) - before >= 1.5


def test_rows_that_say_running_are_closed_when_nobody_runs_them() -> None:
    submit()
    sync()
    server_id = here().id
    now = time.time()
    db.session.add(
        SyncRun(server_id=server_id, asked_by="worker", asked_at=now, state="running", holder="gone:1:x")
    )
    db.session.commit()
    assert runs.close_abandoned() == 1
    assert (last_run().state, "is gone" in last_run().sentence) == ("failed", True)


def test_a_row_whose_holder_lives_is_left_running() -> None:
    submit()
    sync()
    begin_writing()
    lease = leases.take(here().id, "elsewhere:77:x", ignore_interval=True)
    run_id = runs.begin(lease, "command", whole_server=True)
    db.session.commit()
    assert runs.close_abandoned() == 0
    assert db.session.get_one(SyncRun, run_id).state == "running"


def test_a_server_that_never_answered_is_not_known() -> None:
    server = sources.server("me", "alps.example.org", 22)
    with pytest.raises(Unreachable):
        collector.collect(server, broken(Unreachable("No route to it.")), apps=[APP])
    assert sources.drop_if_unknown(server.id)
    assert not db.session.scalars(db.select(Server)).all() + db.session.scalars(db.select(SyncRun)).all()


def test_a_folder_that_cannot_be_read_is_no_trouble_of_its_server(home: Any) -> None:
    (home / f".{APP}").mkdir()
    (home / f".{APP}" / "version").write_text("remotejobs 99\n")
    with pytest.raises(ServerProblem, match="newer version"):
        sync()
    assert (here().needs_person, here().error, here().failures) == ("", "", 0)


def test_an_answer_that_breaks_off_while_it_is_unpacked_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, home: Any
) -> None:
    Registry(home).settings("0" * 32 + "_1", name="first")

    def damaged(told: SourceAnswer) -> Iterator[Chunk]:
        raise ValueError("a packed part is damaged")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(SourceAnswer, "chunks", damaged)
        with pytest.raises(AnswerBroken, match="damaged"):
            sync()
    assert sync().sources[0].jobs == 1


def test_a_source_that_is_removed_while_it_is_synced_is_gone_and_no_trouble(home: Any) -> None:
    registry = Registry(home)
    for number in range(1, 1201):
        registry.settings(f"{number:032x}_1", name=f"job {number}")

    def remove(stage: str, done: int, total: int | None) -> None:
        found = sources.find_here(APP)
        if stage == "writing" and done and found:
            sources.forget(found.id)

    with pytest.raises(SourceGone):
        sync(listener=remove)
    assert db.session.scalar(db.select(Job.id)) is None
    assert (here().failures, here().lease_owner) == (0, "")


def test_a_source_that_is_removed_while_its_server_is_asked_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for app in ("one", "two"):
        submit(f"echo {app}", app=app)
        sync([app])

    def remove(_: Answer) -> None:
        found = sources.find_here("one")
        assert found and sources.forget(found.id)

    with monkeypatch.context() as patch:
        changed_answer(patch, remove)
        assert [one.app for one in sync().sources] == ["two"]
    assert sources.find_here("one") is None and sources.find_here("two") is not None


def test_a_lease_from_a_clock_that_was_set_back_holds_nobody_up() -> None:
    submit()
    sync()
    server = here()
    server.lease_owner, server.lease_until = "elsewhere:77:x", time.time() + 86400
    db.session.commit()
    sync()


def test_what_does_not_settle_is_soon_asked_about_at_the_usual_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = submit("sleep 30")
    sync()
    ask(job(key), "cancel")
    changed_answer(monkeypatch, lambda answer: answer.outcomes.clear())
    assert [sync().is_followed for _ in range(4)] == [True, True, True, False]


def test_a_write_that_fails_in_the_middle_leaves_the_cursor_behind(
    monkeypatch: pytest.MonkeyPatch, home: Any
) -> None:
    """A chunk that ends its bucket, written in two transactions: the second one is what the cursor speaks of."""
    registry = Registry(home)
    for number in range(1, 901):
        registry.settings(f"{number:032x}_1", name=f"job {number}")
    real, calls = intake._write, []

    def fails_once(*arguments: Any) -> list[Job]:
        calls.append(1)
        if len(calls) == 2:
            raise OSError("disk full")
        return real(*arguments)

    monkeypatch.setattr(intake, "_write", fails_once)
    with pytest.raises(OSError, match="disk full"):
        sync()
    assert db.session.scalar(db.select(db.func.count(Job.id))) == 500
    assert sync().sources[0].jobs == 900
