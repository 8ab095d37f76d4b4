"""With the narrow key: what it is for works, on a process and on a real Slurm, and through any login shell."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.parts import wait_until
from cluster.sshd import Sshd
from library.machines import until
from library.narrow import Narrow, narrow_account

from remotejobs import gate
from remotejobs.records import JobKey


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def narrow(sshd: Sshd, keys: Path) -> Iterator[Narrow]:
    yield from narrow_account(sshd, keys)


def parts(key: str) -> tuple[str, int]:
    return key.rpartition("_")[0], int(key.rpartition("_")[2])


def started(narrow: Narrow, scheduler: str, script: str = "echo begun; echo wrong >&2; sleep 300") -> str:
    with_all = narrow.machine(scheduler).submitter()
    key = str(
        with_all.submit_job(with_all.create_settings(None, None, "sh", ["-c", script], scheduler=scheduler))[
            "jobid"
        ]
    )
    stdout = narrow.registry / "runs" / key / "stdout"
    wait_until(lambda: stdout.exists() and stdout.read_text(), "its output")
    return key


@pytest.mark.parametrize("scheduler", ["process", "slurm"])
def test_jobs_are_listed_read_cancelled_and_run_again(
    narrow: Narrow, scheduler: str, request: pytest.FixtureRequest
) -> None:
    if scheduler == "slurm":
        request.getfixturevalue("slurm")
        narrow.full.close()  # only a new login finds the Slurm that was started meanwhile
        gate.install(narrow.full, narrow.installed.key)
    key = started(narrow, scheduler)
    jobs = narrow.jobs()
    with narrow.sshd.counting() as counted:
        assert key in jobs.settings.list_keys()
        assert jobs.check_state(*parts(key))["status"] == "running"
    assert (counted.connections, counted.execs) == (1, 1)
    assert jobs.read_log(*parts(key)).text == "begun\n"
    assert jobs.read_log(*parts(key), stderr=True).text == "wrong\n"
    assert jobs.cancel_job(*parts(key)) in (
        "Cancelled.",
        "The scheduler was told to cancel it; it has not ended yet.",
    )
    until(jobs, key, lambda state: state["status"] == "cancelled")
    more = {"walltime": 600, "memory": 200, "cores": 2, "partition": "low"} if scheduler == "slurm" else {}
    again = "_".join(map(str, jobs.resubmit_job(*parts(key), **more)))
    until(jobs, again, lambda state: state["status"] == "running")
    record, _ = jobs.settings.look_up(JobKey.parse(again))
    assert record.settings["options"] == more
    jobs.cancel_job(*parts(again))
    until(jobs, again, lambda state: state["status"] == "cancelled")
