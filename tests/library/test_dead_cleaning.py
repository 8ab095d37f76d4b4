"""A command that dies while a server is cleaned is never read as "nothing there": what it would have spoken of stays."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from library.registries import APP, Folder, fact_text, key_of

from remotejobs import RemoteJobSubmitter, ServerProblem, cleaning
from remotejobs.errors import BadInput
from remotejobs.exchange import Pruning, Request, SourceRequest, command, exchange
from remotejobs.records import JobKey
from remotejobs.shell import LocalShell

DAY = 86400.0
DIES = "kill -s KILL $$"
Strike = Callable[..., None]


@pytest.fixture
def folder(home: Path) -> Folder:
    return Folder.make(home)


@pytest.fixture
def jobs(folder: Folder) -> RemoteJobSubmitter:
    return RemoteJobSubmitter(APP)


@pytest.fixture
def strike(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Strike:
    cleans = f'[ -n "$(/bin/ls -d {folder.path}/actions/seal.*.now 2>/dev/null)" ]'

    def stand_in(name: str, where: str, does: str = DIES) -> None:
        """What `name` does from now on while somebody cleans, where its arguments look like that."""
        real = shutil.which(name, path="/usr/bin:/bin")
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(
            f'#!/bin/sh\ncase "$*" in {where}) {cleans} && {{ {does}; }} ;; esac\nexec {real} "$@"\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")

    return stand_in


def ended(folder: Folder, number: int, days: float) -> str:
    key = key_of(number)
    folder.ended(key, days)
    return key


# ---- sealing ----


@pytest.mark.parametrize("which", ["*.settled*", "*2048*", "*.lost*"])
def test_without_the_list_of_what_waits_nothing_is_sealed(
    folder: Folder, jobs: RemoteJobSubmitter, strike: Strike, which: str
) -> None:
    ended(folder, 1, 0.5)
    odd = folder.path / "facts" / f"{ended(folder, 2, 3)}.exit.1"
    odd.unlink()
    os.mkfifo(odd)  # reading it blocks for ever
    ended(folder, 3, 3)
    before = folder.names()
    strike("find", which)
    report = jobs.clean()
    assert (report.records, report.more, folder.names()) == (0, True, before)


@pytest.mark.parametrize("name", ["sort", "awk"])
def test_what_dies_while_it_lists_has_listed_nothing(
    folder: Folder, jobs: RemoteJobSubmitter, strike: Strike, name: str
) -> None:
    ended(folder, 1, 3)
    before = folder.names()
    strike(name, "*" if name == "sort" else "*told*")
    report = jobs.clean()
    assert (report.records, report.more, folder.names()) == (0, True, before)


def test_a_list_of_keys_is_not_made_from_part_of_a_batch(
    folder: Folder, jobs: RemoteJobSubmitter, strike: Strike
) -> None:
    for number in range(1, 4):
        ended(folder, number, 3)
    jobs.clean()
    (names,) = folder.path.glob("sealed/*.names")
    whole = names.read_text()
    names.unlink()
    strike("gzip", "*sealed/*", '/usr/bin/gzip "$@" | head -n 12; exit 0')
    jobs.clean()
    assert not names.exists()
    strike("gzip", "nothing")
    jobs.clean()
    assert names.read_text() == whole


def test_what_could_not_be_sealed_does_not_say_that_it_was_cleaned(
    folder: Folder, jobs: RemoteJobSubmitter, strike: Strike
) -> None:
    key = JobKey.parse(ended(folder, 1, 3))
    run = folder.path / "runs" / str(key)
    strike("gzip", "-c", "exit 1")
    assert jobs.clean().records == 0
    assert (jobs.check_state(*key, False)["cleaned"], run.exists()) == (False, True)
    strike("gzip", "nothing")
    assert jobs.clean().records == 1
    assert (RemoteJobSubmitter(APP).check_state(*key, False)["cleaned"], run.exists()) == (True, False)


@pytest.mark.parametrize("name", ["b_1", "link"])
def test_a_batch_that_no_reader_is_sent_takes_no_name_away(
    folder: Folder, jobs: RemoteJobSubmitter, name: str
) -> None:
    key = ended(folder, 1, 3)
    (folder.path / "facts" / f"{key}.sched.1").unlink()  # so that it is not sealed itself
    files = {path.name: path.read_text() for path in folder.path.glob(f"*/{key}.*")}
    batch = folder.sealed(name, files, [key])
    if name == "link":
        batch.symlink_to(batch.rename(folder.path / "elsewhere"))
    before = folder.names()
    jobs.clean()
    assert folder.names() >= before


def test_a_batch_that_does_not_hold_what_the_files_hold_takes_no_name_away(
    folder: Folder, jobs: RemoteJobSubmitter, strike: Strike
) -> None:
    """It came to the disk whole and otherwise."""
    ended(folder, 1, 3)
    before = folder.names()
    strike("gzip", "-c", "sed 's/time=1/time=2/' | /usr/bin/gzip -c; exit")
    report = jobs.clean()
    assert (report.records, report.more, folder.names()) == (0, True, before)
    assert not list((folder.path / "sealed").iterdir())


def test_no_name_goes_before_its_batch_has_its_list(
    folder: Folder, jobs: RemoteJobSubmitter, strike: Strike
) -> None:
    ended(folder, 1, 3)
    before = folder.names()
    strike("ln", "*.names*")
    report = jobs.clean()
    assert (report.records, report.more) == (0, True)
    assert folder.names() >= before


@pytest.mark.parametrize("awk", ["busybox awk", "mawk", "gawk --posix"])
def test_it_is_cleaned_and_pruned_with_any_awk(
    folder: Folder, jobs: RemoteJobSubmitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, awk: str
) -> None:
    keys = [ended(folder, number, 800) for number in range(1, 4)]
    name = awk.split()[0]
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    if name == "busybox":  # and all else that it has
        subprocess.run([name, "--install", "-s", tmp_path], check=True)
    else:
        (tmp_path / "awk").write_text(f'#!/bin/sh\nexec {awk} "$@"\n')
        (tmp_path / "awk").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    report = jobs.clean()
    assert (report.records, report.folders, report.more) == (3, 3, False)
    assert {name.partition(".")[0] for batch in folder.batches() for name in batch} == set(keys)
    assert jobs.prune(365).sentence == "Deleted 3 sealed records (1 batch)."


# ---- the trash ----


def test_without_the_list_of_what_lives_no_run_folder_is_moved(
    folder: Folder, jobs: RemoteJobSubmitter, strike: Strike
) -> None:
    key = ended(folder, 1, 3)
    jobs.clean()
    folder.fact(key, "start.2")  # it was requeued
    run = folder.path / "runs" / key
    run.mkdir()
    folder.age(key, 2)
    strike("ls", '"settings facts"')
    report = jobs.clean()
    assert (report.folders, report.more, run.exists()) == (0, True, True)


def test_a_run_folder_that_was_made_today_is_somebodys(folder: Folder, jobs: RemoteJobSubmitter) -> None:
    key = ended(folder, 1, 3)
    jobs.clean()
    (folder.path / "runs" / key).mkdir()  # requeued: its first fact is on the way
    assert jobs.clean().folders == 0
    folder.age(key, 2)
    assert jobs.clean().folders == 1


def test_where_a_time_is_not_what_was_asked_for_the_trash_stays(
    folder: Folder, jobs: RemoteJobSubmitter, strike: Strike
) -> None:
    lies = folder.path / "trash" / "older" / key_of(9)
    lies.mkdir(parents=True)
    os.utime(lies.parent, (time.time() - DAY,) * 2)
    strike("touch", "*.trash", 'exec /usr/bin/touch "$3"')
    with pytest.raises(ServerProblem, match="Nothing was cleaned"):
        jobs.clean()
    assert lies.exists()


# ---- pruning ----


@pytest.fixture
def shared(folder: Folder, jobs: RemoteJobSubmitter) -> Folder:
    """An old batch with a record of which a second one, by name the last, has a young part."""
    key = ended(folder, 1, 800)
    (folder.path / "facts" / f"{key}.exit.1").unlink()
    jobs.clean()
    folder.fact(key, "exit.1", fact_text(code=0, time=int(time.time() - 3 * DAY)))
    folder.age(key, 2)
    known = set(folder.path.glob("sealed/*"))
    jobs.clean()
    for path in set(folder.path.glob("sealed/*")) - known:
        path.rename(path.with_stem("z"))
    assert len(folder.batches()) == 2
    return folder


def test_of_a_batch_that_is_read_in_part_nothing_is_deleted(
    folder: Folder, jobs: RemoteJobSubmitter, strike: Strike
) -> None:
    ended(folder, 1, 800)
    ended(folder, 2, 3)
    jobs.clean()
    strike("gzip", "*sealed/*", f'/usr/bin/gzip "$@" | head -n 30; {DIES}')
    assert jobs.prune(365).records == 0
    assert len(folder.batches()) == 1


def test_without_all_lists_of_keys_nothing_is_deleted(
    shared: Folder, jobs: RemoteJobSubmitter, strike: Strike
) -> None:
    strike("grep", "-*H*", f'/usr/bin/grep "$@" | head -n 1; {DIES}')
    jobs.prune(365)
    assert len(shared.batches()) == 2


def test_without_the_keys_that_live_nothing_is_deleted(
    folder: Folder, jobs: RemoteJobSubmitter, strike: Strike
) -> None:
    key = ended(folder, 1, 800)
    jobs.clean()
    folder.fact(key, "exit.2")
    strike("awk", "*'valid($0) { print substr($0, 1, index($0, \".\") - 1) }'*")
    report = jobs.prune(365)
    assert (report.records, report.more, len(folder.batches())) == (0, True, 1)
    assert report.sentence.endswith("could not be done now.")


def test_pruning_says_that_its_time_was_over(
    folder: Folder, jobs: RemoteJobSubmitter, strike: Strike
) -> None:
    for number in (1, 2):
        ended(folder, number, 800)
        jobs.clean()
    strike("gzip", "*sealed/*", "sleep 3.1")
    pruned = exchange(
        LocalShell(), Request([SourceRequest(APP)], budget=3.0, cleanings=[Pruning(APP, 365 * DAY)])
    ).pruned[APP]
    assert (pruned.records, pruned.batches, pruned.more) == (1, 1, True)


# ---- what is asked and said ----


@pytest.mark.parametrize(
    "line",
    [
        f"seal\t{APP}\t5\t86400\t0\tx:do",
        f"seal\t{APP}\t5\t86400\t0\tlook:do",
        f"seal\t{APP}\t05\t86400\t0\tdo",
        f"seal\t{APP}\t5\t086400\t0\tdo",
        f"seal\t{APP}\t5\t86400\t00\tdo",
        f"seal\t{APP}\t5\t86400\t--\tdo",
        f"seal\t{APP}\t-\t86400\t0\tdo",
        f"prune\t{APP}\t0\t-\t-\tdo",
    ],
)
def test_a_request_that_is_none_of_ours_cleans_nothing(folder: Folder, home: Path, line: str) -> None:
    ended(folder, 1, 3)
    before = folder.names()
    done = subprocess.run(
        ["/bin/sh", "-c", command(cleans=True)],
        input=f"remotejobs\t1\t00112233445566ff\t60\n{line}\nend\n".encode(),
        capture_output=True,
        check=True,
    )
    assert (done.stderr, b"cleaned" in done.stdout, b"pruned" in done.stdout) == (b"", False, False)
    assert folder.names() == before


@pytest.mark.parametrize("days", [-1.0, 400 * 365.0, float("nan"), float("inf")])
def test_days_that_no_server_can_reckon_with_are_refused_here(jobs: RemoteJobSubmitter, days: float) -> None:
    for asks in (
        lambda: jobs.prune(days),
        lambda: jobs.clean(settled_days=days),
        lambda: jobs.clean(trash_days=days),
    ):
        with pytest.raises(BadInput, match="no number of days"):
            asks()


def test_what_was_sealed_before_the_disk_was_full_is_said(
    folder: Folder, jobs: RemoteJobSubmitter, strike: Strike, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "LIMIT", 1)
    for number in range(1, 4):
        ended(folder, number, 3)
    strike("stat", "*", f"/bin/ls {folder.path}/sealed/*.gz >/dev/null 2>&1 && exit 1")
    report = jobs.clean()
    assert (report.records, report.more) == (1, True)
    assert report.sentence.startswith("Sealed 1 record, ")
