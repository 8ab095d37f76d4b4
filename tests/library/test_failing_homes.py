"""Room that runs out at any moment, two that write at once, a restarted machine: told in a sentence, and nothing twice."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from cluster.parts import mounted, need, wait_until
from cluster.quota import QuotaDisk
from library.machines import APP, Elsewhere, Machine, until
from library.once import Place, new_token, settle

from remotejobs import RemoteJobsError, RemoteJobSubmitter

ROOT = Path(__file__).parents[2]
Room = Callable[[], None]


@contextmanager
def few_files(machine: Machine, count: int) -> Iterator[Room]:
    """A registry on a disk that takes so many files; what it gives makes room."""
    yield from _small_disk(machine, f"nr_inodes={count}", "nr_inodes=10k")


@contextmanager
def few_bytes(machine: Machine, size: int) -> Iterator[Room]:
    yield from _small_disk(machine, f"size={size}", "size=4m")


def _small_disk(machine: Machine, limit: str, enough: str) -> Iterator[Room]:
    path, owner = machine.registry(), machine.home.stat()
    path.mkdir()
    options = f"{limit},mode=700,uid={owner.st_uid},gid={owner.st_gid}"
    with mounted(path, "-t", "tmpfs", "-o", options, "small"):
        yield lambda: subprocess.run(["mount", "-o", f"remount,{enough}", str(path)], check=True) and None
    path.rmdir()


@contextmanager
def quota_at_close(machine: Machine, size: int) -> Iterator[Room]:
    need("FUSE", "mount", root=True)
    if not Path("/dev/fuse").exists():
        pytest.skip("no FUSE: this machine has no /dev/fuse")
    path, owner = machine.registry(), machine.home.stat()
    path.mkdir()
    try:
        with QuotaDisk.mounted(path, owner.st_uid, owner.st_gid) as disk:
            disk.quota = size
            yield lambda: setattr(disk, "quota", None)
    finally:
        path.rmdir()


LIMITS = {"files": few_files, "bytes": few_bytes, "a quota at close": quota_at_close}


def runs_out(place: Place, kind: str, limit: int) -> str:
    """A submission for which there is not room enough, then again with room: one job that ran once. What was said first."""
    token, said = new_token(), ""
    with LIMITS[kind](place.machine, limit) as make_room:
        made = place.made()
        try:
            place.jobs.submit_job(dict(made), action=token)
        except RemoteJobsError as error:
            said = str(error)
            assert "full" in said or "not been seen yet" in said, said
        make_room()
        settle(place, token, lambda jobs: jobs.submit_job(dict(made), action=token))
        (key,) = place.jobs.settings.list_keys()
        wait_until(place.runs, "it has run")
        # Where there was no room for its exit file either, nothing tells how it ended; only that it did is asked here.
        until(
            place.jobs, key, lambda state: state["ended"] or state["settling"] or state["status"] == "running"
        )
        assert (place.runs(), place.waiting()) == (1, [])
    return said


@pytest.mark.parametrize(
    ("fixture", "kind", "limit"),
    [
        ("server", "files", 13),
        ("slurm_cluster", "files", 17),
        ("server", "a quota at close", 0),
        ("slurm_cluster", "a quota at close", 4000),
    ],
)
def test_where_there_is_no_room_the_same_action_again_settles_it(
    request: pytest.FixtureRequest, fixture: str, kind: str, limit: int
) -> None:
    assert "full" in runs_out(Place(request.getfixturevalue(fixture)), kind, limit)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("fixture", ["server", "slurm_cluster"])
@pytest.mark.parametrize(
    ("kind", "limits"),
    [("files", range(1, 24)), ("bytes", range(4096, 40960, 4096)), ("a quota at close", range(0, 9000, 300))],
)
def test_the_room_may_run_out_at_any_file_or_byte(
    request: pytest.FixtureRequest, fixture: str, kind: str, limits: range
) -> None:
    place = Place(request.getfixturevalue(fixture))
    said = [runs_out(place, kind, limit) for limit in limits]
    print(f"{fixture}, {kind}: {len(said)} limits, {sum(map(bool, said))} of them too low")


WRITER = """
import sys
from remotejobs import RemoteJobSubmitter
jobs = RemoteJobSubmitter(sys.argv[1])
made = jobs.create_settings(None, None, "sh", ["-c", "echo ran >>~/proof"], scheduler="process")
print(*(jobs.submit_job(dict(made))["jobid"] for _ in range(6)))
"""


def test_two_that_submit_equal_work_at_once_use_no_number_twice(home: Path) -> None:
    command = [sys.executable, "-c", WRITER, APP]
    writers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ)
        for _ in range(2)
    ]
    keys = [key for writer in writers for key in writer.communicate(timeout=60)[0].split()]
    assert sorted(int(key.rpartition("_")[2]) for key in keys) == list(range(1, 13))
    with RemoteJobSubmitter(APP) as jobs:
        assert sorted(jobs.settings.list_keys()) == sorted(keys)
        for key in keys:
            until(jobs, key, lambda state: state["status"] == "done")
    assert (home / "proof").read_text() == "ran\n" * 12


def test_after_a_restart_what_ran_is_lost_and_a_pid_that_lives_again_is_left_alone(server: Machine) -> None:
    need("unshare", "unshare", root=True)
    place = Place(server)
    jobid = str(place.jobs.submit_job(place.made("sleep 300"))["jobid"])
    hash_ = jobid.partition("_")[0]
    before = until(place.jobs, jobid, lambda state: state["status"] == "running" and place.runs() == 1)
    boot = server.home / "boot_id"
    boot.write_text("01234567-89ab-4cde-8f01-23456789abcd\n")
    mounts = f"mount --bind {boot} /proc/sys/kernel/random/boot_id"
    restarted = Elsewhere(server.home.owner(), server.home, mounts)
    jobs = RemoteJobSubmitter(APP, shell=restarted)  # type: ignore[arg-type]
    state = jobs.check_state(hash_, 1, False)
    assert (state["status"], state["reason"], state["evidence"]) == ("lost", "rebooted", "inferred")
    assert jobs.cancel_job(hash_, 1) == "It had already ended."
    assert psutil.Process(int(before["scheduler_id"])).is_running()
    # Whoever reads it later, without the machine's word, is told the same by the record.
    (gone,) = (server.registry() / "facts").glob("*.gone.1")
    assert "reason=rebooted" in gone.read_text().splitlines()
    assert jobs.resubmit_job(hash_, 1) == (hash_, 2)
    until(jobs, f"{hash_}_2", lambda state: state["status"] == "running")
