"""A command of the program on the server that dies, or fails, has not found nothing: what it would have said is unknown."""

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from library.machines import APP
from library.registries import Folder, fact_text, key_of, settings_text

from remotejobs import RemoteJobSubmitter, ServerProblem
from remotejobs.answer import Outcome
from remotejobs.errors import ActionUnknown
from remotejobs.exchange import Cancel, Request, SourceRequest, exchange
from remotejobs.records import JobKey
from remotejobs.settings import work_hash
from remotejobs.shell import LocalShell

SUBMITTED = 1700000000
Strike = Callable[..., None]
LISTED = "'$1 == key || $1 == id'"
KILLED, FAILS = "kill -9 $$", "exit 1"


KEY = key_of(1)
HOST = socket.gethostname().partition(".")[0]
PROCESS = {"scheduler": "process", "cluster": HOST, "host": HOST}
STAND_IN = """\
#!/bin/sh
case "$*" in
  *{line}*)
    number=1
    until mkdir {place}/struck.$number 2>/dev/null; do number=$((number + 1)); done
    [ {times} -gt 0 ] && [ $number -gt {times} ] || {{ {end}; }} ;;
esac
exec {real} "$@"
"""


@pytest.fixture
def folder(home: Path) -> Folder:
    return Folder.make(home)


@pytest.fixture
def strike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Strike:
    """Of the runs of a command whose line looks like that, the first `times` (all, unless told) end in another way."""
    place = tmp_path / "stand-ins"
    place.mkdir()

    def arm(name: str, line: str, end: str = KILLED, times: int = 0) -> None:
        real = shutil.which(name, path="/usr/bin:/bin")
        (place / name).write_text(STAND_IN.format(place=place, line=line, times=times, end=end, real=real))
        (place / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")

    return arm


def sealed_one(folder: Folder, key: str = KEY, name: str = "b1") -> Path:
    """A job of this machine that is over and was sealed."""
    words = PROCESS | {"id": 4711, "sid": 4711, "start_ticks": 1, "boot": "before", "submitted": SUBMITTED}
    files = {
        f"{key}.json": settings_text(scheduler="process"),
        f"{key}.id": fact_text(**words),
        f"{key}.exit.1": fact_text(code=0, time=SUBMITTED + 9),
        f"{key}.sched.1": fact_text(source="none", line="", time=SUBMITTED + 9),
    }
    return folder.sealed(name, files, [key])


def cancelled(key: str = KEY) -> Outcome:
    asked = Cancel(str(uuid.uuid4()), APP, JobKey.parse(key))
    answer = exchange(LocalShell(), Request([SourceRequest(APP, None)], [asked]))
    answer.close()
    return answer.outcomes[asked.uuid]


# ---- what was sealed ----


@pytest.mark.parametrize("end", [KILLED, FAILS])
def test_no_number_is_given_while_the_sealed_lists_cannot_be_read(
    folder: Folder, strike: Strike, end: str
) -> None:
    jobs = RemoteJobSubmitter(APP)
    made = jobs.create_settings(None, None, "true", scheduler="process", shell="/bin/sh")
    sealed_one(folder, f"{work_hash(made)}_1")
    strike("cat", "sealed/b1.names", end)
    with pytest.raises(ServerProblem, match="could not read"):
        jobs.generate_id(made)
    with pytest.raises(ActionUnknown, match="cannot be read"):
        jobs.submit_job(made)
    assert list((folder.path / "runs").iterdir()) == []
    strike("cat", "nothing")
    assert jobs.submit_job(made)["jobid"] == f"{work_hash(made)}_2"


def test_a_pipe_or_a_link_in_the_place_of_a_sealed_list_blocks_nobody(folder: Folder) -> None:
    sealed_one(folder)
    os.mkfifo(folder.path / "sealed" / "p.names")
    (folder.path / "sealed" / "l.names").symlink_to("/dev/zero")
    jobs = RemoteJobSubmitter(APP)
    assert jobs.settings.highest_n(KEY.partition("_")[0]) == 1
    assert cancelled().code == "was-over"
    with jobs.changes() as changes:
        list(changes)
        cursor = changes.cursor
    (folder.path / "sealed" / "b1.names").unlink()
    os.mkfifo(folder.path / "sealed" / "b1.names")
    folder.good(1)
    with jobs.changes(cursor) as changes:
        assert len(list(changes)) == 1
        assert changes.unreadable == 1


@pytest.mark.parametrize("name", ["find", "sed"])
def test_a_pipe_among_the_records_blocks_nobody_also_when_it_was_not_found(
    folder: Folder, strike: Strike, name: str
) -> None:
    key = folder.good(1)[0]
    os.mkfifo(folder.path / "facts" / f"{key}.start.1")
    strike(name, {"find": "settings facts", "sed": "s/^/!/"}[name])
    jobs = RemoteJobSubmitter(APP)
    with jobs.changes() as changes:
        assert list(changes) == []
        assert changes.unreadable
        cursor = changes.cursor
    strike(name, "nothing")
    with jobs.changes(cursor) as changes:
        assert [state["jobid"] for state in changes] == [key]


@pytest.mark.parametrize(
    ("name", "line", "end"),
    [("grep", "b1.names", KILLED), ("grep", "b1.names", "exit 2"), ("gzip", "b1.gz", KILLED)],
)
def test_a_sealed_job_that_cannot_be_looked_up_is_neither_over_nor_unknown_to_us(
    folder: Folder, strike: Strike, name: str, line: str, end: str
) -> None:
    sealed_one(folder)
    strike(name, line, end)
    assert (cancelled().state, cancelled().code) == ("unknown", "unreadable")
    with pytest.raises(ActionUnknown):
        RemoteJobSubmitter(APP).resubmit_job(KEY.partition("_")[0], 1)


def test_a_job_of_a_damaged_batch_is_not_called_over_and_that_of_a_pruned_one_is(folder: Folder) -> None:
    batch = sealed_one(folder)
    batch.write_bytes(batch.read_bytes()[:40])
    assert (cancelled().state, cancelled().code) == ("unknown", "unreadable")
    batch.unlink()
    assert (cancelled().state, cancelled().code) == ("done", "was-over")


@pytest.mark.parametrize("kind", ["a link", "a strange name"])
def test_what_stands_in_the_place_of_a_batch_is_counted_as_unreadable(folder: Folder, kind: str) -> None:
    batch = sealed_one(folder)
    if kind == "a link":
        batch.rename(folder.path / "elsewhere")
        batch.symlink_to(folder.path / "elsewhere")
    else:
        batch.rename(folder.path / "sealed" / "b 1.gz")
    with RemoteJobSubmitter(APP).changes() as changes:
        assert list(changes) == []
        assert changes.unreadable == 1


# ---- what is alive ----


@pytest.fixture
def living(folder: Folder) -> Iterator[str]:
    """The key of a job of this machine that runs."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    session = {"id": process.pid, "sid": stat[3], "start_ticks": stat[19], "boot": boot}
    key = key_of(15)
    folder.settings(key, settings_text(scheduler="process"))
    folder.fact(key, "id", fact_text(**PROCESS | session, submitted=int(time.time())))
    folder.fact(key, "start.1", fact_text(time=int(time.time())))
    (folder.path / "runs" / key).mkdir()
    yield key
    process.kill()
    process.wait()


@pytest.mark.parametrize("line", [LISTED, "'$4 == \"alive\"'"])
def test_a_live_job_is_not_called_over_where_the_look_at_the_queue_died(
    folder: Folder, living: str, strike: Strike, line: str
) -> None:
    (folder.path / "runs" / living / ".told").touch()  # told to end, with no proof yet
    strike("awk", line)
    assert cancelled(living).code == "queue-silent"
    assert not list(folder.path.glob("facts/*.cancel.*"))


def test_a_job_that_was_told_to_end_is_not_proved_cancelled_where_the_last_look_died(
    folder: Folder, living: str, strike: Strike
) -> None:
    # The first look finds it alive, those that follow die.
    strike("awk", LISTED, '[ "$number" = 1 ] || kill -9 $$')
    assert cancelled(living).code == "told"
    assert not list(folder.path.glob("facts/*.cancel.*"))


def test_without_its_clock_a_server_notes_nothing(folder: Folder, strike: Strike) -> None:
    gone = PROCESS | {"id": 4711, "sid": 4711, "start_ticks": 1, "boot": "before", "submitted": SUBMITTED}
    folder.settings(KEY, settings_text(scheduler="process"))
    folder.fact(KEY, "id", fact_text(**gone))
    strike("date", "+%s")
    answer = exchange(LocalShell(), Request([SourceRequest(APP, None)]))
    answer.close()
    assert "could not tell the time" in answer.sources[APP].error
    with pytest.raises(ServerProblem, match="could not tell the time"):
        cancelled()
    assert not list(folder.path.glob("facts/*.gone.*"))
    strike("date", "nothing")
    exchange(LocalShell(), Request([SourceRequest(APP, None)])).close()
    assert list(folder.path.glob("facts/*.gone.*"))


@pytest.mark.parametrize("line", ["'function facts(path'", "'print key, a, '"])
def test_open_jobs_that_could_not_be_found_out_are_not_taken_for_none(
    living: str, strike: Strike, line: str
) -> None:
    strike("awk", line)
    answer = exchange(LocalShell(), Request([SourceRequest(APP, None)]))
    answer.close()
    assert "cannot be read" in answer.sources[APP].error
    strike("awk", "nothing")
    answer = exchange(LocalShell(), Request([SourceRequest(APP, None)]))
    answer.close()
    assert [queue.complete for queue in answer.queues] == [True]


def test_jobs_that_are_back_after_they_were_sealed_are_not_taken_for_none(
    folder: Folder, strike: Strike
) -> None:
    sealed_one(folder)
    folder.fact(KEY, "start.2")
    for name, line in [("gzip", "b1.gz"), ("grep", "b1.names"), ("awk", "'from_batch($0); next'")]:
        strike(name, line)
        answer = exchange(LocalShell(), Request([SourceRequest(APP, None)]))
        answer.close()
        assert "cannot be read" in answer.sources[APP].error, name
        strike(name, "nothing")


def test_what_a_died_look_lacked_is_sent_the_next_time(folder: Folder, living: str, strike: Strike) -> None:
    """Also if an action makes the server look twice in that exchange, and the second look succeeds."""
    folder.good(2)

    def told(cursor: str | None, *actions: Cancel) -> tuple[set[str], str | None]:
        answer = exchange(LocalShell(), Request([SourceRequest(APP, cursor)], list(actions)))
        source, names = answer.sources[APP], set[str]()
        if not source.error:
            for chunk in source.chunks():
                names |= {f"{record.key}.{fact}" for record in chunk.records for fact in record.facts}
                cursor = chunk.cursor
        answer.close()
        return names, cursor

    _, cursor = told(None)
    folder.fact(KEY, "cancel.1")
    strike("sort", "", times=1)
    names, cursor = told(cursor, Cancel(str(uuid.uuid4()), APP, JobKey.parse(living)))
    strike("sort", "nothing")
    assert f"{KEY}.cancel.1" in names | told(cursor)[0]


def test_of_many_facts_that_came_late_those_without_an_end_are_looked_at(folder: Folder) -> None:
    settled = [f"{number:032x}_1" for number in range(1, 1500)]
    for key in settled:
        folder.fact(key, "sched.1", fact_text(source="none", line="", time=1))
    requeued = [f"{number:032x}_1" for number in range(5000, 5040)]
    files = {}
    for key in requeued:
        files[f"{key}.json"] = settings_text(scheduler="process")
        files[f"{key}.id"] = fact_text(
            **PROCESS, id=4711, sid=4711, start_ticks=1, boot="x", submitted=SUBMITTED
        )
        files[f"{key}.sched.1"] = fact_text(source="none", line="", time=1)
        folder.fact(key, "start.2")
    folder.sealed("b1", files, [*settled, *requeued])
    answer = exchange(LocalShell(), Request([SourceRequest(APP, None)]))
    answer.close()
    assert sum(line.startswith("q|") for line in answer.queues[0].lines) == len(requeued)


# ---- what is being sealed ----


def test_a_done_job_is_done_for_a_reader_that_comes_while_its_names_are_removed(folder: Folder) -> None:
    """First the id goes; a job without it is open to nobody, and unknown to whoever has not read the batch."""
    folder.ended(KEY)
    files = {path.name: path.read_text() for path in folder.path.glob("[sf]*/*.*")}
    folder.sealed("b1", files, [KEY])
    hash_ = KEY.partition("_")[0]
    for name in (f"facts/{KEY}.id", f"facts/{KEY}.exit.1", f"facts/{KEY}.sched.1", f"facts/{KEY}.start.1"):
        (folder.path / name).unlink()
        assert RemoteJobSubmitter(APP).check_state(hash_, 1, False)["status"] == "done", name
