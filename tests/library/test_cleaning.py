"""Cleaning: settled records leave the list of names and stay readable, run folders go to the trash, numbers stay used."""

import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster.parts import wait_until
from library.machines import Machine, until
from library.registries import Folder, fact_text, key_of
from library.test_registry import read

from remotejobs import NoSuchJob, RemoteJobSubmitter
from remotejobs.records import JobKey
from remotejobs.shell import LocalShell

DAY = 86400.0


@pytest.fixture
def folder(home: Path) -> Folder:
    return Folder.make(home)


@pytest.fixture
def jobs(folder: Folder) -> RemoteJobSubmitter:
    return RemoteJobSubmitter(folder.path.name[1:])


def parts(key: str) -> tuple[str, int]:
    return JobKey.parse(key)


def test_a_settled_job_is_sealed_stays_readable_and_can_be_run_again(server: Machine) -> None:
    jobs = server.submitter()
    settings = jobs.create_settings(None, None, "exit 3", scheduler="process")
    key = jobs.submit_job(settings)["jobid"]
    sched = server.registry() / "facts" / f"{key}.sched.1"
    until(jobs, key, lambda state: state["status"] == "failed" and sched.exists())
    assert jobs.clean().records == 0, "it has only just ended"
    Folder(server.registry()).age(key, 2)
    report = jobs.clean()
    assert (report.records, report.folders, report.emptied) == (1, 1, 0)
    assert report.sentence == "Sealed 1 record, moved 1 run folder to the trash and removed 0 from it."
    assert jobs.settings.list_keys() == []
    for reader in (jobs, server.submitter()):
        state = reader.check_state(*parts(key))
        assert (state["status"], state["exit_code"], state["cleaned"]) == ("failed", 3, True)
    assert jobs.generate_id(settings)[1:] == (2, False)
    assert jobs.resubmit_job(*parts(key)) == (parts(key)[0], 2)
    assert jobs.submit_job(settings)["jobid"] == key.removesuffix("1") + "3"


def test_only_what_is_settled_goes(server: Machine) -> None:
    folder = Folder.make(server.home)
    week = 8.0
    waits: dict[str, Callable[[str], object]] = {
        "young": lambda key: folder.ended(key, 0.9),
        "elsewhere": lambda key: folder.ended(key, cluster="elsewhere"),
        "no last word": lambda key: (folder.ended(key), drop(key, "sched.1")),
        "tried again": lambda key: (folder.ended(key), folder.fact(key, "start.2"), folder.age(key, week)),
        "without settings": lambda key: (folder.ended(key), (folder.path / f"settings/{key}.json").unlink()),
        "unreadable": lambda key: (folder.ended(key), (folder.path / f"facts/{key}.exit.1").chmod(0)),
        "too large": lambda key: (
            folder.ended(key),
            folder.settings(key, "x" * 2_000_000),
            folder.age(key, week),
        ),
        "cut": lambda key: (folder.ended(key), folder.fact(key, "exit.1", "code=0\n"), folder.age(key, week)),
        "no end of line": lambda key: (folder.ended(key), folder.settings(key, "{}"), folder.age(key, week)),
        "lost lately": lambda key: lose(key, 6.9),
    }

    def drop(key: str, *names: str) -> None:
        for name in names:
            (folder.path / "facts" / f"{key}.{name}").unlink()

    def lose(key: str, days: float) -> None:
        folder.ended(key)
        drop(key, "sched.1", "exit.1")
        folder.fact(key, "gone.1", fact_text(time=int(time.time() - days * DAY)))
        folder.age(key, days)

    for number, make in enumerate(waits.values(), 1):
        make(key_of(number))
    goes = [key_of(number) for number in range(50, 60)]
    for key in goes[1:]:
        folder.ended(key)
    lose(goes[0], week)
    folder.owned_by(server.home.owner())
    report = server.submitter().clean()
    assert report.records == len(goes)
    live = {name.partition(".")[0] for name in folder.names()}
    waiting = [name for number, name in enumerate(waits, 1) if key_of(number) in live]
    assert (waiting, len(live)) == (list(waits), len(waits))
    (batch,) = folder.batches()
    assert {name.partition(".")[0] for name in batch} == set(goes)
    assert read(server.shell).keys == {*goes, *live}
    assert not any((folder.path / "runs" / key).exists() for key in goes)


def test_a_job_that_the_queue_still_lists_waits(slurm_cluster: Machine) -> None:
    """It could be requeued, and would find no run folder. Slurm forgets it after some minutes."""
    jobs = slurm_cluster.submitter()
    key = jobs.submit_job(jobs.create_settings(None, None, "true", scheduler="slurm"))["jobid"]
    sched = slurm_cluster.registry() / "facts" / f"{key}.sched.1"
    until(jobs, key, lambda state: state["status"] == "done" and sched.exists())
    folder = Folder(slurm_cluster.registry())
    identity = dict(
        line.partition("=")[::2] for line in (folder.path / f"facts/{key}.id").read_text().splitlines()
    )
    forgotten = {"scheduler": "slurm", "cluster": identity["cluster"], "id": 999_999, "sid": "", "boot": ""}
    folder.ended(key_of(1), **forgotten)
    folder.owned_by(slurm_cluster.home.owner())
    folder.age(key, 3)
    assert jobs.clean().records == 1
    assert jobs.settings.list_keys() == [key]


def test_a_sealed_job_that_was_requeued_can_be_cancelled(slurm_cluster: Machine) -> None:
    """Sealed by hand: as long as Slurm lists a job, so that it can be requeued, nobody seals it."""
    jobs, folder = slurm_cluster.submitter(), Folder(slurm_cluster.registry())
    submitted = jobs.submit_job(jobs.create_settings(None, None, "true", scheduler="slurm"))
    key = submitted["jobid"]
    until(jobs, key, lambda state: state["status"] == "done" and f"{key}.sched.1" in folder.names())
    folder.sealed("b1", {path.name: path.read_text() for path in folder.path.glob(f"*/{key}.*")}, [key])
    folder.owned_by(slurm_cluster.home.owner())
    for path in folder.path.glob(f"*/{key}.*"):
        path.unlink()
    assert jobs.cancel_job(*parts(key)) == "It had already ended."
    requeued = slurm_cluster.shell.run(f"scontrol requeuehold {submitted['scheduler_id']}")
    assert requeued.status == 0, requeued.stderr
    # Slurm counts the new attempt a moment later; until then the row could be another job's that was given this id.
    wait_until(lambda: jobs.cancel_job(*parts(key)) == "Cancelled.", "the requeued job's end")


def test_a_dry_run_shows_what_would_go_and_touches_nothing(folder: Folder, jobs: RemoteJobSubmitter) -> None:
    for number in range(3):
        folder.ended(key_of(number))
    old = folder.path / "trash" / "older" / key_of(9)
    old.mkdir(parents=True)
    os.utime(old.parent, (1, 1))
    before = {str(path) for path in folder.path.rglob("*")}
    report = jobs.clean(dry_run=True)
    assert [str(record.key) for record, _status in report.jobs] == [key_of(number) for number in range(3)]
    assert report.sentence == "Would seal 3 records, move 3 run folders to the trash and remove 1 from it."
    assert {str(path) for path in folder.path.rglob("*")} == before


def test_the_trash_is_emptied_when_its_time_is_over(folder: Folder, jobs: RemoteJobSubmitter) -> None:
    folder.ended(key_of(1))
    locked = folder.path / "runs" / key_of(1) / "locked"
    locked.mkdir()
    (locked / "file").write_text("x")
    os.utime(locked.parent, (1, 1))  # its own age is not how long it lies in the trash
    assert jobs.clean().folders == 1
    assert jobs.clean().emptied == 0
    (moved,) = (folder.path / "trash").iterdir()
    (moved / key_of(1) / "locked").chmod(0o500)
    then = time.time() - 8 * DAY
    os.utime(moved, (then, then))
    assert (jobs.clean(trash_days=9).emptied, jobs.clean().emptied) == (0, 1)
    assert list((folder.path / "trash").iterdir()) == []


def test_facts_that_come_late_are_read_with_their_record_and_sealed_later(
    folder: Folder, jobs: RemoteJobSubmitter
) -> None:
    key = key_of(1)
    folder.ended(key)
    (folder.path / "facts" / f"{key}.exit.1").unlink()
    before = read(LocalShell())
    assert jobs.clean().records == 1
    folder.fact(key, "exit.1", fact_text(code=7, time=1700000009))
    for known in (before.cursor, None):
        found = read(LocalShell(), known).records[parts(key)]
        assert found.fact("exit", 1)["code"] == "7"
    # A reader that asked for no sealed record asks for it as soon as half a record comes.
    state = RemoteJobSubmitter(jobs.app_name).check_state(*parts(key), False)
    assert (state["status"], state["exit_code"], state["name"]) == ("failed", 7, "a job")
    assert jobs.settings.list_keys() == [key]
    assert jobs.clean().records == 0, "the fact is young"
    folder.age(key, 2)
    assert jobs.clean().records == 1
    assert folder.names() == set()
    assert sorted(map(len, folder.batches())) == [1, 5]
    assert read(LocalShell()).records[parts(key)].fact("exit", 1)["code"] == "7"


def test_a_job_that_was_sealed_as_lost_and_lives_is_asked_about_and_can_be_cancelled(
    folder: Folder, jobs: RemoteJobSubmitter
) -> None:
    key = jobs.submit_job(jobs.create_settings(None, None, "sleep 300", scheduler="process"))["jobid"]
    until(jobs, key, lambda state: state["status"] == "running" and f"{key}.start.1" in folder.names())
    folder.fact(key, "gone.1", fact_text(time=1700000010))
    (folder.path / "facts" / f"{key}.start.1").rename(late := folder.path / "late")
    files = {path.name: path.read_text() for path in folder.path.glob(f"*/{key}.*")}
    folder.sealed("b1", files, [key])
    for path in folder.path.glob(f"*/{key}.*"):
        path.unlink()
    late.rename(folder.path / "facts" / f"{key}.start.1")
    folder.age(key, 3)
    assert jobs.clean().folders == 0, "it runs in its folder"
    for reader in (jobs, RemoteJobSubmitter(jobs.app_name)):
        state = reader.check_state(*parts(key), False)
        assert (state["status"], state["evidence"], state["attempt"]) == ("running", "queue", 1)
    assert jobs.cancel_job(*parts(key)) == "Cancelled."
    assert jobs.check_state(*parts(key), False)["status"] == "cancelled"


def test_what_a_job_says_after_its_run_folder_went_is_still_noted(
    folder: Folder, jobs: RemoteJobSubmitter
) -> None:
    key = jobs.submit_job(
        jobs.create_settings(None, None, "sleep 1; exit 4", scheduler="process", shell="/bin/sh")
    )["jobid"]
    until(jobs, key, lambda state: state["status"] == "running" and f"{key}.start.1" in folder.names())
    (folder.path / "runs" / key).rename(folder.path / "trash" / key)
    state = until(jobs, key, lambda state: state["ended"] is not None)
    assert (state["status"], state["exit_code"]) == ("failed", 4)


def test_pruning_deletes_old_sealed_records_and_no_number_comes_again(
    folder: Folder, jobs: RemoteJobSubmitter
) -> None:
    settings = jobs.create_settings(None, None, "true", scheduler="process")
    hash_ = jobs.generate_id(settings)[0]
    old, late, new = f"{hash_}_4", key_of(2), key_of(3)
    for key in (old, late):
        folder.ended(key, 800)
    assert jobs.clean().records == 2
    known = read(LocalShell())
    assert jobs.prune(365 * 10).records == 0, "they are not that old"
    folder.fact(late, "exit.1", fact_text(code=1, time=5))
    assert jobs.prune(365, dry_run=True).records == 0, (
        "part of a record is still live, so all of its batch stays"
    )
    folder.age(late, 2)
    folder.ended(new)
    folder.fact(new, "exit.1", fact_text(code=0, time=int(time.time())))
    folder.age(new, 2)
    assert jobs.clean().records == 2
    assert jobs.prune(365).records == 0, "its late fact shares a batch with a young record"
    (folder.path / "facts" / f"{new}.exit.1").write_text("")  # what is live is not touched
    for batch in folder.path.glob("sealed/*.gz"):
        if len(folder.batches()[0]) and new in batch.with_suffix(".names").read_text():
            batch.unlink()
    assert jobs.prune(365, dry_run=True).sentence == "Would delete 2 sealed records (1 batch)."
    assert jobs.prune(365).sentence == "Deleted 2 sealed records (1 batch)."
    assert folder.batches() == []
    assert read(LocalShell(), known.cursor).source.error == ""
    fresh = RemoteJobSubmitter(jobs.app_name)
    with pytest.raises(NoSuchJob):
        fresh.check_state(*parts(old))
    with pytest.raises(NoSuchJob):
        fresh.resubmit_job(*parts(old))
    assert fresh.cancel_job(*parts(old)) == "It had already ended."
    assert fresh.submit_job(settings)["jobid"] == f"{hash_}_5"


def test_a_fact_that_comes_while_its_record_is_sealed_stays(
    folder: Folder, jobs: RemoteJobSubmitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_of(1)
    folder.ended(key)
    late = tmp_path / "late"
    late.write_text(fact_text(code=7, time=5))
    link = tmp_path / "ln"  # of the batch, which was written by then
    link.write_text(
        f'#!/bin/sh\ncase $* in *sealed/*) /bin/ln {late} facts/{key}.exit.2 ;; esac\nexec /bin/ln "$@"\n'
    )
    link.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert jobs.clean().records == 1
    assert folder.names() == {f"{key}.exit.2"}
    assert read(LocalShell()).records[parts(key)].fact("exit", 2)["code"] == "7"


def test_two_that_clean_at_once_lose_nothing(folder: Folder, jobs: RemoteJobSubmitter) -> None:
    keys = [key_of(number) for number in range(60)]
    for key in keys:
        folder.ended(key)
    before = read(LocalShell()).records
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: RemoteJobSubmitter(jobs.app_name).clean(), range(2)))
    assert sum(report.records for report in reports) >= len(keys)
    assert folder.names() == set()
    found = read(LocalShell()).records
    for key, record in before.items():
        assert found[key].settings == record.settings
        assert {name: found[key].facts[name] for name in record.facts} == record.facts


# ---- the command ----


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    from library.test_command import run as command

    return command(*arguments)


def test_the_command_cleans_and_says_so_in_one_line(folder: Folder, jobs: RemoteJobSubmitter) -> None:
    folder.ended(key_of(1), 800)
    shown = run("clean", jobs.app_name, "--dry-run")
    assert shown.stdout.splitlines()[0].startswith(f"{key_of(1)}  done")
    assert "Would seal 1 record" in shown.stdout
    done = run("clean", jobs.app_name, "--trash", "30d")
    assert (done.returncode, done.stdout) == (
        0,
        "Sealed 1 record, moved 1 run folder to the trash and removed 0 from it.\n",
    )
    pruned = run("prune", jobs.app_name, "--older-than", "1y")
    assert pruned.stdout == "Deleted 1 sealed record (1 batch).\n"
    wrong = run("prune", "--older-than", "soon")
    assert (wrong.returncode, "is no time" in wrong.stderr) == (2, True)
    assert run("clean", "never-used").stdout.startswith("Sealed 0 records")
