"""A sync of a real server, through a real sshd, with a real Slurm behind it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.slurm import Slurm
from cluster.sshd import Account, Sshd
from flask import Flask
from flask.testing import FlaskClient
from library.machines import over_ssh
from web.syncing import APP, again, ask, eventually, job

from remotejobs import RemoteJobSubmitter
from remotejobs.errors import LoginRefused
from remoteweb import actions, collector, connect, sources
from remoteweb.database import db
from remoteweb.models import Action, Job, Server
from remoteweb.syncs import SyncResult

pytestmark = pytest.mark.sqlite  # of the way to a server, whatever the database


@pytest.fixture
def account(sshd: Sshd, home: Path) -> Account:
    """An account of its own, which the person's key and known_hosts open."""
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    shutil.copy(sshd.key, folder / "id_ed25519")
    (folder / "id_ed25519").chmod(0o600)
    shutil.copy(sshd.known_hosts, folder / "known_hosts")
    return sshd.account()


@pytest.fixture
def server(app: Flask, sshd: Sshd, account: Account) -> Iterator[Server]:
    with app.app_context():
        yield sources.server(account.user, sshd.host, sshd.port)


def sync(server: Server, apps: list[str] | None = None) -> SyncResult:
    at = sources.known(server.user, server.host, server.port)
    assert at
    return collector.collect(at, connect.unattended, apps=apps, ignore_interval=True)


def submit(sshd: Sshd, account: Account, script: str, scheduler: str, app: str = APP) -> str:
    with over_ssh(sshd, account.user) as shell:
        jobs = RemoteJobSubmitter(app, shell=shell)
        settings = jobs.create_settings(None, None, "sh", ["-c", script], scheduler=scheduler)
        return str(jobs.submit_job(settings)["jobid"])


def test_all_apps_jobs_and_actions_of_a_server_are_one_connection_and_one_command(
    sshd: Sshd, account: Account, server: Server
) -> None:
    keys = [submit(sshd, account, f"sleep 60; echo {n}", "process") for n in range(4)]
    keys += [submit(sshd, account, "exit 3", "process", "other")]
    with sshd.counting() as counted:
        first = sync(server, [APP, "other"])
    assert (counted.connections, counted.execs) == (1, 1)
    assert [(one.app, one.jobs) for one in first.sources] == [(APP, 4), ("other", 1)]
    acts = [ask(job(key), "cancel", f"button-{key}") for key in keys[:4]]
    acts.append(ask(job(keys[4]), "resubmit", "button-again"))
    with sshd.counting() as counted:
        sync(server)
    assert (counted.connections, counted.execs) == (1, 1)
    assert [again(action).state for action in acts] == ["done"] * 5
    with sshd.counting() as counted:
        sync(server)
    assert (counted.connections, counted.execs) == (1, 1)
    assert {job(key).state for key in keys[:4]} == {"cancelled"}
    assert db.session.scalar(db.select(db.func.count()).select_from(Job)) == 6


def test_a_slurm_job_is_seen_cancelled_and_run_again(
    client: FlaskClient, slurm: Slurm, sshd: Sshd, account: Account, server: Server
) -> None:
    key = submit(sshd, account, "sleep 300", "slurm")

    def runs() -> bool:
        sync(server, [APP])
        return job(key).state == "running"

    eventually(runs, 60)
    row = job(key)
    assert (row.scheduler, row.evidence, row.raw, row.open) == ("slurm", "queue", "RUNNING", True)
    assert row.cluster and row.nodes and row.partition and row.scheduler_id.isdecimal()
    action = ask(row, "cancel")

    def is_cancelled() -> bool:
        sync(server)
        return job(key).state == "cancelled" and again(action).state == "done"

    eventually(is_cancelled, 60)
    assert job(key).reason == "by_user"
    form = {"idem_key": "button-2", "seen": "0", "walltime": "0:42", "memory": "60M", "cores": "1"}
    assert client.post(f"/jobs/{job(key).id}/resubmit", data=form).status_code == 303
    action = db.session.scalars(db.select(Action).where(Action.idem_key == "button-2")).one()
    actions.send_now(action)
    sync(server)
    second = again(action).new_key
    assert second == key.removesuffix("_1") + "_2"
    eventually(lambda: bool(sync(server)) and job(second).state == "running", 60)
    assert job(second).limit == 42 * 60, "so long as the person said, by the queue's own word"
    ask(job(second), "cancel", "button-3")
    eventually(lambda: bool(sync(server)) and job(second).state == "cancelled", 60)


def test_a_login_that_is_refused_is_one_connection_and_waits_for_a_person(
    sshd: Sshd, account: Account, server: Server, home: Path
) -> None:
    sync(server, [APP])
    (home / ".ssh" / "id_ed25519").unlink()
    with sshd.counting() as counted, pytest.raises(LoginRefused):
        sync(server)
    assert (counted.connections, counted.execs) == (1, 0)
    at = sources.known(account.user, sshd.host, sshd.port)
    assert at and f"did not let us in as {account.user}" in at.needs_person
