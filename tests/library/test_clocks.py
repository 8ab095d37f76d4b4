"""A server's clock may be hours off, in any zone, and change to summer time: no duration and no outcome follows it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from cluster.clock import off_by_being_at, set_clock
from cluster.parts import base_folder, need
from cluster.sshd import Sshd
from library.machines import APP, over_ssh, until

from remotejobs import ActionRefused, RemoteJobSubmitter

HOURS, DAYS = 3600.0, 86400.0


@pytest.fixture(scope="module")
def clocked() -> Iterator[Sshd]:
    need("sshd", "sshd", "setpriv", "useradd", "faketime", root=True)
    with base_folder("clocked") as folder:
        sshd = Sshd(folder / "sshd")
        try:
            sshd.start()
            yield sshd
        finally:
            sshd.stop()


@pytest.fixture
def jobs(clocked: Sshd) -> Iterator[RemoteJobSubmitter]:
    account = clocked.account()
    with over_ssh(clocked, account.user) as shell:
        yield RemoteJobSubmitter(APP, shell=shell)


def at(text: str) -> float:
    return off_by_being_at(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


CLOCKS = [
    ("three hours fast, a day ahead", lambda: 3 * HOURS, "Pacific/Kiritimati"),
    ("three hours slow", lambda: -3 * HOURS, "America/New_York"),
    ("when summer time ends", lambda: at("2025-11-02T05:59:58"), "America/New_York"),
    ("when summer time begins", lambda: at("2026-03-08T06:59:58"), "America/New_York"),
]


@pytest.mark.parametrize(("off", "zone"), [clock[1:] for clock in CLOCKS], ids=[clock[0] for clock in CLOCKS])
def test_a_job_takes_as_long_as_it_takes_by_whatever_clock(
    clocked: Sshd, jobs: RemoteJobSubmitter, off: object, zone: str
) -> None:
    seconds_off = set_clock(clocked, off(), zone)  # type: ignore[operator]
    began = datetime.now(UTC).timestamp()
    made = jobs.create_settings(None, None, "sleep 3; exit 4", scheduler="process")
    state = until(jobs, jobs.submit_job(made)["jobid"], lambda state: state["ended"])
    assert (state["status"], state["exit_code"]) == ("failed", 4)
    assert 3 <= (state["ended"] - state["started"]).total_seconds() <= 15
    assert -2 <= state["started"].timestamp() - seconds_off - began <= 30, "by the server's clock, in no zone"
    hash_ = state["jobid"].rpartition("_")[0]
    assert jobs.resubmit_job(hash_, 1) == (hash_, 2)
    assert jobs.cancel_job(hash_, 2) in ("Cancelled.", "It had already ended.")


@pytest.mark.parametrize(("days", "refused"), [(6.9, False), (7.1, True), (-30.0, False)])
def test_what_was_asked_is_refused_only_when_a_week_old_by_the_servers_clock(
    clocked: Sshd, jobs: RemoteJobSubmitter, days: float, refused: bool
) -> None:
    set_clock(clocked, days * DAYS)
    made = jobs.create_settings(None, None, "true", scheduler="process")
    if not refused:
        assert jobs.submit_job(made)["jobid"]
        return
    with pytest.raises(ActionRefused, match="more than 7 days ago by the server's clock"):
        jobs.submit_job(made)
    assert jobs.settings.list_keys() == []
