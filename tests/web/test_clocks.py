"""Servers whose clocks are hours off, in other zones: ages, durations, order and actions on the pages follow our clock."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cluster.clock import set_clock
from cluster.parts import base_folder, need
from cluster.sshd import Sshd
from flask import Flask
from flask.testing import FlaskClient
from library.machines import over_ssh
from web.syncing import APP, again, ask, eventually, job

from remotejobs import RemoteJobSubmitter
from remoteweb import collector, connect, sources
from remoteweb.database import db
from remoteweb.groups import Group
from remoteweb.models import Server

HOUR, DAY = 3600.0, 86400.0


class Where(NamedTuple):
    user: str
    sshd: Sshd


@pytest.fixture(scope="module")
def sshds() -> Iterator[dict[str, Sshd]]:
    need("sshd", "sshd", "setpriv", "useradd", "faketime", root=True)
    with base_folder("clocks") as folder:
        servers = {name: Sshd(folder / name) for name in ("fast", "slow")}
        try:
            for server in servers.values():
                server.start()
            yield servers
        finally:
            for server in servers.values():
                server.stop()


@pytest.fixture
def servers(app: Flask, sshds: dict[str, Sshd], home: Path) -> Iterator[dict[str, Where]]:
    """Two servers, known to this person, with an account each."""
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    (folder / "known_hosts").write_text("".join(sshd.known_hosts.read_text() for sshd in sshds.values()))
    with app.app_context():
        where = {}
        for name, sshd in sshds.items():
            account = sshd.account(
                authorized_key="".join(one.key.with_suffix(".pub").read_text() for one in sshds.values())
            )
            where[name] = Where(account.user, sshd)
            sources.server(account.user, sshd.host, sshd.port)
        shutil.copy(sshds["fast"].key, folder / "id_ed25519")
        (folder / "id_ed25519").chmod(0o600)
        db.session.rollback()  # what is read from here on is what is there then
        yield where


def submit(where: Where, command: str) -> str:
    with over_ssh(where.sshd, where.user) as shell:
        jobs = RemoteJobSubmitter(APP, shell=shell)
        return str(jobs.submit_job(jobs.create_settings(None, None, command, scheduler="process"))["jobid"])


def sync(where: Where) -> collector.SyncResult:
    at = sources.known(where.user, where.sshd.host, where.sshd.port)
    assert at
    return collector.collect(at, connect.unattended, apps=[APP], ignore_interval=True)


def test_ages_durations_and_order_are_as_by_one_clock(
    sshds: dict[str, Sshd], servers: dict[str, Where], client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(sshds["fast"], 3 * HOUR, "Pacific/Kiritimati")
    set_clock(sshds["slow"], -3 * HOUR, "America/New_York")
    keys = {}
    for name in ("fast", "slow"):  # in this order, by the only clock that a person has
        keys[name] = submit(servers[name], f"sleep 2; exit 1  # {name}")
        eventually(lambda name=name: bool(sync(servers[name])) and job(keys[name]).state == "failed", 30)
    assert [
        round((known.skew or 0) / HOUR) for known in db.session.scalars(db.select(Server).order_by(Server.id))
    ] == [3, -3]
    rows = {name: job(key) for name, key in keys.items()}
    assert (rows["fast"].ended or 0) > (rows["slow"].ended or 0) + 5 * HOUR, "by the servers' own clocks"
    assert {row.group for row in rows.values()} == {Group.NEEDS_YOU}
    page = client.get("/").text
    assert page.index(f"/jobs/{rows['slow'].id}") < page.index(f"/jobs/{rows['fast'].id}"), (
        "what ended last stands first"
    )
    for row in rows.values():
        page = client.get(f"/jobs/{row.id}").text
        assert re.search(r"after [2-9]\xa0s", page), page
        assert all(abs(told - time.time()) < 120 for told in times(page)) and times(page)
    before = times(page)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert times(client.get(f"/jobs/{row.id}").text) == before, "our own zone moves nothing"
    finally:
        monkeypatch.undo()
        time.tzset()


def times(page: str) -> list[float]:
    return [
        time.mktime(time.strptime(told, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        for told in re.findall(r'<time[^>]* datetime="([^"]+)"', page)
    ]


@pytest.mark.parametrize("off", [3 * HOUR, 30 * DAY])
def test_a_tap_is_as_old_as_it_is_whatever_the_servers_clock_says(
    sshds: dict[str, Sshd], servers: dict[str, Where], off: float
) -> None:
    set_clock(sshds["fast"], 0)
    key = submit(servers["fast"], "sleep 300")
    set_clock(sshds["fast"], off)
    sync(servers["fast"])
    taps = [ask(job(key), "cancel", "button-1"), ask(job(key), "resubmit", "button-2")]
    sync(servers["fast"])
    assert [again(tap).state for tap in taps] == ["done", "done"]
    assert job(key).state == "cancelled"
    last = ask(job(f"{key[:-1]}2"), "cancel", "button-3")
    eventually(lambda: bool(sync(servers["fast"])) and again(last).state == "done", 20)
