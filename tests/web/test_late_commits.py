"""Transactions that overlap: the feed misses none that commits late, and no two of them wait for each other for ever.

On SQLite the second one waits for the first; on PostgreSQL they go on side by side, up to the counter.
"""

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event
from web import rows

from remoteweb import actions, changes, outcomes, sources
from remoteweb.database import begin_writing, db
from remoteweb.leases import Lease
from remoteweb.models import Action, Job, Source

POLL = {"HX-Request": "true", "HX-Request-Type": "partial"}
SHOWN = re.compile(r'<span class="name" id="n(\d+)">([^<]*)</span>')


@pytest.fixture
def jobs(app: Flask) -> list[int]:
    with app.app_context():
        of = rows.source(rows.server())
        return [rows.job(of, f"first-{number}", "failed").id for number in range(4)]


@pytest.fixture
def aside(app: Flask) -> Iterator[Callable[..., object]]:
    """Runs a function in another thread, in an app's context of its own, as another process would; gives its future."""
    with ThreadPoolExecutor(4) as pool:

        def in_context(function: Callable[..., object], *values: object) -> object:
            with app.app_context():
                return function(*values)

        yield lambda *call: pool.submit(in_context, *call)


class Slow:
    """A transaction that renames a job and stops twice: before it has its number, and before its commit."""

    def __init__(self) -> None:
        self.has_changed, self.may_go_on = threading.Event(), threading.Event()
        self.has_its_number, self.may_commit = threading.Event(), threading.Event()

    def __call__(self, job_id: int, name: str) -> None:
        begin_writing()
        row = db.session.get_one(Job, job_id)
        row.name = name
        db.session.flush()
        self.has_changed.set()
        assert self.may_go_on.wait(20)
        changes.publish([row])
        db.session.flush()
        self.has_its_number.set()
        assert self.may_commit.wait(20)
        db.session.commit()


class Page:
    """An open list: the names that it shows, kept up to date by its poller alone."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client
        page = client.get("/").text
        self.names = self._names(page)
        self.tag = re.findall(r'hx-ptag="([^"]*)"', page)[0]

    def poll(self) -> dict[int, str]:
        """What came."""
        answer = self.client.get("/changes?every=5", headers={**POLL, "HX-PTag": self.tag})
        came = self._names(answer.text)
        self.names |= came
        self.tag = answer.headers["HX-PTag"]
        return came

    @staticmethod
    def _names(text: str) -> dict[int, str]:
        return {int(id_): name for id_, name in SHOWN.findall(text)}


def rename(job_id: int, name: str) -> None:
    rows.change(db.session.get_one(Job, job_id), name=name)


def waits(app: Flask) -> bool:
    """On SQLite a second writer cannot end before the first."""
    with app.app_context():
        return db.engine.dialect.name == "sqlite"


@pytest.mark.parametrize("has_its_number", [False, True])
def test_a_poll_while_another_transaction_is_open_does_not_skip_what_that_one_changed(
    app: Flask, client: FlaskClient, jobs: list[int], aside: Callable[..., object], has_its_number: bool
) -> None:
    late, soon = jobs[:2]
    page, slow = Page(client), Slow()
    first = aside(slow, late, "late")
    assert slow.has_changed.wait(20)
    if has_its_number:
        slow.may_go_on.set()
        assert slow.has_its_number.wait(20)
    second = aside(rename, soon, "soon")
    if waits(app) or has_its_number:
        assert page.poll() == {}
    else:
        second.result(20)
        assert page.poll() == {soon: "soon"}
    slow.may_go_on.set()
    slow.may_commit.set()
    first.result(20)
    second.result(20)
    page.poll()
    assert (page.names[late], page.names[soon]) == ("late", "soon")
    assert page.poll() == {}


def test_a_page_that_polls_while_several_write_ends_up_with_what_is_in_the_database(
    app: Flask, client: FlaskClient, jobs: list[int], aside: Callable[..., object]
) -> None:
    def write(seed: int) -> None:
        moments = random.Random(seed)
        for number in range(25):
            begin_writing()
            row = db.session.get_one(Job, moments.choice(jobs))
            row.name = f"v{seed}-{number}"
            db.session.flush()
            time.sleep(moments.uniform(0, 0.004))
            changes.publish([row])
            db.session.flush()
            time.sleep(moments.uniform(0, 0.004))
            db.session.commit()

    page = Page(client)
    writers = [aside(write, seed) for seed in range(3)]
    while not all(writer.done() for writer in writers):
        page.poll()
    for writer in writers:
        writer.result()
    page.poll()
    with app.app_context():
        assert page.names == dict(db.session.execute(db.select(Job.id, Job.name)).all())


def test_a_page_never_has_a_tag_that_is_newer_than_its_rows(
    app: Flask, client: FlaskClient, jobs: list[int], aside: Callable[..., object]
) -> None:
    """A tap that changes nothing is answered with the job's page: read at one moment, whatever is written meanwhile."""
    changed: list[int] = []

    def change_once(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM job" in statement and not changed:
            changed.append(jobs[0])
            aside(rename, jobs[0], "renamed").result(20)

    with app.app_context():
        db.session.execute(db.update(Job).where(Job.id == jobs[0]).values(state="done"))
        db.session.commit()
        event.listen(db.engine, "after_cursor_execute", change_once)
    tapped = client.post(
        f"/jobs/{jobs[0]}/cancel", data={"idem_key": "some-button", "at": "job"}, headers=POLL
    )
    assert changed and "It has ended already" in tapped.text
    (tag,) = re.findall(r'hx-ptag="([^"]*)"', tapped.text)
    shows_it = "renamed" in tapped.text
    news = client.get(f"/jobs/{jobs[0]}/changes", headers={**POLL, "HX-PTag": tag})
    assert shows_it or "renamed" in news.text


def test_a_tap_and_a_sync_of_the_same_job_do_not_wait_for_each_other_for_ever(
    app: Flask, jobs: list[int], aside: Callable[..., object]
) -> None:
    slow = Slow()
    sync = aside(slow, jobs[0], "synced")
    assert slow.has_changed.wait(20)
    tap = aside(lambda: actions.ask(db.session.get_one(Job, jobs[0]), "resubmit", "button-1", 1).state)
    time.sleep(0.2)  # the tap comes as far as it can
    slow.may_commit.set()
    slow.may_go_on.set()
    assert (sync.result(20), tap.result(20)) == (None, "waiting")
    with app.app_context():
        assert db.session.get_one(Job, jobs[0]).name == "synced"


def test_what_is_being_sent_cannot_be_withdrawn_by_a_cancel_at_that_moment(
    app: Flask, jobs: list[int], aside: Callable[..., object]
) -> None:
    claimed, may_commit = threading.Event(), threading.Event()

    def claim(action_id: int) -> None:
        begin_writing()
        db.session.execute(db.update(Action).where(Action.id == action_id).values(state="sending", tries=1))
        claimed.set()
        assert may_commit.wait(20)
        db.session.commit()

    with app.app_context():
        action_id = actions.ask(db.session.get_one(Job, jobs[0]), "resubmit", "button-1", 1).id
    sync = aside(claim, action_id)
    assert claimed.wait(20)
    tap = aside(lambda: actions.ask(db.session.get_one(Job, jobs[0]), "cancel", "button-2", 1).state)
    time.sleep(0.2)
    may_commit.set()
    sync.result(20)
    assert tap.result(20) == "waiting"
    with app.app_context():
        assert db.session.get_one(Action, action_id).state == "sending"


def test_a_sync_that_lost_its_lease_puts_nothing_back_that_another_has_claimed(
    app: Flask, jobs: list[int], aside: Callable[..., object]
) -> None:
    claimed, may_commit = threading.Event(), threading.Event()

    def claim(action_id: int, server_id: int) -> None:
        begin_writing()
        db.session.execute(db.update(rows.Server).where(rows.Server.id == server_id).values(fence=2))
        db.session.execute(db.update(Action).where(Action.id == action_id).values(fence=2))
        claimed.set()
        assert may_commit.wait(20)
        db.session.commit()

    with app.app_context():
        action = actions.ask(db.session.get_one(Job, jobs[0]), "cancel", "button-1", 1)
        action_id, server_id = action.id, action.source.server_id
        begin_writing()
        action.state, action.fence, action.tries = "sending", 1, 1
        db.session.commit()
    other = aside(claim, action_id, server_id)
    assert claimed.wait(20)

    class OfThis:
        id = action_id

    back = aside(lambda: outcomes.put_back(Lease(server_id, "me:1:x", 1), [OfThis()], wire_was_touched=False))
    time.sleep(0.2)
    may_commit.set()
    other.result(20)
    back.result(20)
    with app.app_context():
        left = db.session.get_one(Action, action_id)
        assert (left.state, left.fence, left.tries) == ("sending", 2, 1)


def test_a_source_that_many_make_known_at_once_is_one(app: Flask, aside: Callable[..., object]) -> None:
    together = threading.Barrier(4)

    def make() -> int:
        together.wait(20)
        return sources.source_here().id

    made = [aside(make) for _ in range(4)]
    assert len({one.result(20) for one in made}) == 1


def test_a_tap_on_a_job_that_is_being_removed_is_no_error(
    app: Flask, client: FlaskClient, jobs: list[int], aside: Callable[..., object]
) -> None:
    removed, may_commit = threading.Event(), threading.Event()

    def hold(_session: object) -> None:
        removed.set()
        assert may_commit.wait(20)

    def forget() -> None:
        event.listen(db.session(), "before_commit", hold)
        sources.forget(db.session.scalars(db.select(Source.id)).one())

    removal = aside(forget)
    assert removed.wait(20)
    tap = aside(
        lambda: client.post(f"/jobs/{jobs[0]}/resubmit", data={"idem_key": "some-button"}, headers=POLL)
    )
    time.sleep(0.2)
    may_commit.set()
    removal.result(20)
    assert tap.result(20).status_code == 404
    assert "may have been removed" in tap.result().text
