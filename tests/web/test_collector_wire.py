"""A sync whose link fails at any byte ends in time with a sentence; the next one settles all of it, and nothing twice."""

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from cluster.proxy import Direction, Fault, Kind, Proxy
from cluster.sshd import Account, Sshd
from flask import Flask
from library.machines import over_ssh
from web.syncing import APP, again, ask, eventually, is_alive, job

from remotejobs import RemoteJobSubmitter
from remotejobs.destination import Destination
from remotejobs.errors import RemoteJobsError
from remotejobs.shell import SSHShell
from remoteweb import collector, sources
from remoteweb.database import db
from remoteweb.models import Action, Job, Server

pytestmark = pytest.mark.sqlite  # of the way to a server, whatever the database

STEP = int(os.environ.get("FAULT_STEP", "97"))  # bytes, in the long form
ENDLESS: tuple[Kind, ...] = ("silent", "half-silent")


@dataclass
class World:
    """An account behind a faulty link, a job on it that has failed, and one that runs."""

    sshd: Sshd
    account: Account
    jobs: RemoteJobSubmitter
    link: Proxy
    seconds: float = 20.0  # for the connect, and once more for the exchange
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    syncs: list[int] = field(default_factory=list)  # how many it took after each fault

    def shell(self, server: Server) -> SSHShell:
        return SSHShell(
            Destination(server.host, server.port, server.user, port_given=True),
            keys=[self.sshd.key],
            allow_agent=False,
            look_for_keys=False,
            config=False,
            known_hosts=[],
            extra_host_keys=[f"[127.0.0.1]:{self.link.port} {self.sshd.host_key}"],
            connect_timeout=self.seconds,
        )

    @property
    def server(self) -> Server:
        return sources.server(self.account.user, "127.0.0.1", self.link.port)

    def sync(self) -> collector.SyncResult:
        return collector.collect(
            self.server, self.shell, apps=[APP], ignore_interval=True, timeout=self.seconds
        )

    def submit(self, script: str) -> str:
        settings = self.jobs.create_settings(None, None, "sh", ["-c", script], scheduler="process")
        return str(self.jobs.submit_job(settings)["jobid"])


@pytest.fixture
def world(app: Flask, sshd: Sshd) -> Iterator[World]:
    account = sshd.account()
    with (
        app.app_context(),
        over_ssh(sshd, account.user) as shell,
        Proxy(sshd.port) as link,
    ):
        yield World(sshd, account, RemoteJobSubmitter(APP, shell=shell), link)


@dataclass
class Round:
    """One resubmission and one cancel that are asked for, and what they are about."""

    failed: str
    running: str
    pid: int
    again: Action
    cancel: Action
    proof: str  # a file with a line for each run

    @property
    def is_settled(self) -> bool:
        return {again(self.again).state, again(self.cancel).state} == {"done"}


def begin(world: World) -> Round:
    proof = f"ran-{next(world.numbers)}"
    failed = world.submit(f"echo ran >>~/{proof}; exit 3")
    running = world.submit(f"sleep 300; echo {proof}")
    eventually(lambda: bool(world.sync()) and job(failed).state == "failed")
    assert job(running).state == "running"
    pid = int(job(running).scheduler_id)
    resubmission = ask(job(failed), "resubmit", f"again-{proof}")
    return Round(failed, running, pid, resubmission, ask(job(running), "cancel", f"cancel-{proof}"), proof)


def fail(world: World, fault: Fault, limit: float) -> None:
    """A sync over a link with this fault: it ends in time, well or with a sentence that blames nobody's key."""
    world.link.fault, usual = fault, world.seconds
    world.seconds = limit if fault.kind in ENDLESS else usual
    began = time.monotonic()
    try:
        world.sync()
    except RemoteJobsError as error:
        assert str(error).endswith((".", "?")), error
    finally:
        world.link.fault, world.seconds = None, usual
    assert time.monotonic() - began < 2 * (limit if fault.kind in ENDLESS else usual) + 2
    server = world.server
    db.session.refresh(server)
    assert (server.needs_person, server.lease_owner) == ("", "")


def settles(world: World, round_: Round) -> None:
    """The next sync over a good link; a second one where the first try was still at work on the server."""
    for count in itertools.count(1):
        world.sync()
        if round_.is_settled:
            world.syncs.append(count)
            break
        assert count < 5, [(action.kind, action.state, action.outcome) for action in open_actions()]
        time.sleep(0.3)
    second = round_.failed.removesuffix("_1") + "_2"
    assert again(round_.again).new_key == second
    eventually(lambda: bool(world.sync()) and job(second).state == "failed")
    ended, cancelled = job(second), job(round_.running)
    assert (ended.exit_code, ended.evidence) == (3, "exit_file")
    assert (cancelled.state, cancelled.reason) == ("cancelled", "by_user")
    assert not is_alive(round_.pid)
    assert (world.account.home / round_.proof).read_text() == "ran\nran\n"
    keys = {path.name for path in (world.account.home / f".{APP}" / "runs").iterdir()}
    assert keys == set(db.session.scalars(db.select(Job.key)))


def open_actions() -> list[Action]:
    return list(db.session.scalars(db.select(Action).where(Action.state != "done")))


def size_of_a_sync(world: World) -> dict[Direction, int]:
    """How many bytes pass in one that carries both actions, and goes well."""
    round_ = begin(world)
    world.link.forget()
    world.sync()
    passed = world.link.passed
    settles(world, round_)
    return passed


# Where, of the bytes of a whole sync: greeting, keys, login, the program and the request, the answer.
SOME_FAULTS: list[tuple[Kind, Direction, float]] = [
    ("half-silent", "to", 0.5),
    ("cut", "from", 0.85),
]


def test_whatever_the_link_does_the_next_sync_settles_it(world: World) -> None:
    size = size_of_a_sync(world)
    for kind, direction, part in SOME_FAULTS:
        round_ = begin(world)
        fail(world, Fault(kind, direction, int(size[direction] * part)), 1.5)
        assert world.link.is_struck
        settles(world, round_)
        world.link.forget()


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("direction", ["to", "from"])
@pytest.mark.parametrize("kind", ["cut", "reset", *ENDLESS])
def test_at_every_byte_of_a_sync_the_link_may_fail(world: World, kind: Kind, direction: Direction) -> None:
    size = size_of_a_sync(world)[direction]
    for at in range(0, size + STEP, STEP):
        round_ = begin(world)
        fail(world, Fault(kind, direction, at), 4.0)
        settles(world, round_)
        world.link.forget()
    print(
        f"{kind} {direction}: {len(world.syncs)} links failed; syncs after each: {sorted(world.syncs)[-5:]}"
    )
