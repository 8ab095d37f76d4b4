"""`changes`: what a database has not been told, in one exchange; the cursor that it keeps is all that anybody remembers."""

import io
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cluster.parts import wait_until
from cluster.sshd import Sshd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from library.machines import APP, Machine, over_ssh
from library.registries import Folder, fact_text, key_of, listing, settings_text

from remotejobs import BadInput, JobKey, RemoteJobsError, RemoteJobSubmitter
from remotejobs.output import Output
from remotejobs.shell import LocalShell
from remotejobs.testing import FakeShell
from remotejobs.told import Told

HOST = socket.gethostname().partition(".")[0]


@pytest.fixture
def folder(home: Path) -> Folder:
    return Folder.make(home)


def pull(jobs: RemoteJobSubmitter, cursor: str | None) -> tuple[dict[str, dict[str, Any]], str]:
    with jobs.changes(cursor) as changes:
        told = {state["jobid"]: state for state in changes}
        return told, changes.cursor


# ---- one exchange ----


def test_all_is_told_once_and_then_nothing_by_one_command_each(sshd: Sshd) -> None:
    account = sshd.account()
    keys = Folder.make(account.home)
    keys.good(50)
    keys.sealed("b1", {f"{key_of(99)}.json": settings_text(name="sealed")}, [key_of(99)])
    keys.owned_by(account.user)
    shell = over_ssh(sshd, account.user)
    jobs = RemoteJobSubmitter(APP, shell=shell)
    before = listing(keys.path)
    with sshd.counting() as counted:
        told, cursor = pull(jobs, None)
    assert (counted.connections, counted.execs) == (1, 1)
    assert len(told) == 51
    with sshd.counting() as counted:
        assert jobs.check_states(list(told)) == told, "it is what check_state says of each"
    assert (counted.connections, counted.execs) == (0, 1)
    with sshd.counting() as counted:
        assert pull(jobs, cursor) == ({}, cursor)
    assert (counted.connections, counted.execs) == (0, 1)
    assert listing(keys.path) == before, "nothing about a reader is kept on the server"
    shell.close()


def test_only_what_has_changed_is_told(folder: Folder) -> None:
    jobs = RemoteJobSubmitter(APP)
    keys = folder.good(64)
    _, cursor = pull(jobs, None)
    folder.fact(keys[5], "cleaned")
    folder.settings(key_of(100), settings_text(name="new"))
    told, cursor = pull(jobs, cursor)
    assert {key: state["cleaned"] for key, state in told.items()} == {keys[5]: True, key_of(100): False}
    assert pull(jobs, cursor) == ({}, cursor)


def test_a_server_without_the_folder_has_nothing_to_tell() -> None:
    jobs = RemoteJobSubmitter(APP)
    told, cursor = pull(jobs, None)
    assert told == {}
    assert pull(jobs, cursor) == ({}, cursor)


# ---- the queue ----


def test_a_status_is_told_when_it_changes_though_no_record_does(slurm_cluster: Machine) -> None:
    jobs = slurm_cluster.submitter()
    made = jobs.create_settings(
        None, None, "sleep 1; exit 3", name="a job", scheduler="slurm", extra=["--begin=now+2"]
    )
    jobid = jobs.submit_job(made)["jobid"]
    seen: list[dict[str, Any]] = []
    cursor: str | None = None

    def has_ended() -> bool:
        nonlocal cursor
        told, cursor = pull(jobs, cursor)
        seen.extend(told.values())
        last = seen[-1] if seen else {"exit_code": None}
        return last["exit_code"] == 3 and last["evidence"] == "accounting"

    wait_until(has_ended, "the job has failed", 40)
    assert {state["jobid"] for state in seen} == {jobid}
    assert {state["name"] for state in seen} == {"a job"}, "each time it is told whole"
    states = [state["status"] for state in seen]
    assert states[0] == jobs.STATUS_QUEUED and jobs.STATUS_RUNNING in states
    assert all(one != next_ for one, next_ in pairwise(seen)), "nothing is told twice"
    assert seen[-1] == jobs.check_state(*jobid.rsplit("_", 1), False)
    assert pull(jobs, cursor)[0] == {}
    assert pull(jobs, None)[0] == {jobid: seen[-1]}


class DeafShell(LocalShell):
    """This machine, on which the scheduler gives no answer while `deaf`. No real one fails on demand like that."""

    deaf = False

    def run(self, *args: Any, **options: Any) -> Output:
        output = super().run(*args, **options)
        content = output.stdout.read()
        if self.deaf:
            content = content.replace(b"closed queue process 0", b"closed queue process 1")
        return Output(output.status, io.BytesIO(content), len(content), output.stderr)


def test_what_a_silent_queue_does_not_say_stays_as_it_was_told() -> None:
    shell = DeafShell()
    jobs = RemoteJobSubmitter(APP, shell=shell)
    jobid = jobs.submit_job(jobs.create_settings(None, None, "sleep 60"))["jobid"]
    told, cursor = pull(jobs, None)
    assert told[jobid]["status"] == jobs.STATUS_RUNNING and told[jobid]["evidence"] == "queue"
    shell.deaf = True
    assert pull(jobs, cursor)[0] == {}
    home = Path.home() / f".{APP}"
    Folder(home).fact(jobid, "cleaned")
    told, cursor = pull(jobs, cursor)
    assert told[jobid]["cleaned"] and told[jobid]["evidence"] == "queue", "what else is new is told with it"
    jobs.cancel_job(*jobid.rsplit("_", 1))
    told, cursor = pull(jobs, cursor)
    assert told[jobid]["status"] == jobs.STATUS_CANCELLED, "facts say more than was told"
    shell.deaf = False
    assert pull(jobs, cursor)[0] == {}


def test_a_job_that_is_gone_settles_and_is_lost_in_time(folder: Folder) -> None:
    now, boot = int(time.time()), Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    words = {"scheduler": "process", "cluster": HOST, "host": HOST, "id": 4_000_000, "submitted": now - 500}
    folder.settings(key_of(1))
    folder.fact(key_of(1), "id", fact_text(**words, sid=4_000_000, start_ticks=1, boot=boot))
    gone = folder.fact(key_of(1), "gone.1", fact_text(time=now))
    jobs = RemoteJobSubmitter(APP)
    told, cursor = pull(jobs, None)
    assert told[key_of(1)]["settling"]
    assert pull(jobs, cursor)[0] == {}
    gone.write_text(fact_text(time=now - 121))  # two minutes later, in short: no name has changed
    told, cursor = pull(jobs, cursor)
    assert told[key_of(1)]["status"] == jobs.STATUS_LOST
    assert pull(jobs, cursor)[0] == {}


# ---- what could not be read ----


def test_a_fact_that_cannot_be_read_any_more_takes_nothing_back(folder: Folder) -> None:
    jobs = RemoteJobSubmitter(APP)
    folder.settings(key_of(1))
    words = {
        "scheduler": "slurm",
        "cluster": "elsewhere",
        "host": "elsewhere",
        "id": 7,
        "submitted": 1700000000,
    }
    folder.fact(key_of(1), "id", fact_text(**words))
    folder.fact(key_of(1), "exit.1", fact_text(code=0, time=1700000060))
    left = folder.fact(key_of(1), "sched.1", fact_text(source="none", line="", time=1700000070))
    told, cursor = pull(jobs, None)
    assert told[key_of(1)]["status"] == jobs.STATUS_FINISHED
    whole = left.read_text()
    left.write_text(whole.removesuffix("end\n"))
    folder.settings(key_of(17))  # the bucket is read again
    told, cursor = pull(jobs, cursor)
    assert set(told) == {key_of(17)}
    left.write_text(whole)
    assert pull(jobs, cursor)[0] == {}


@pytest.mark.parametrize("name", ["exit.1", "json"])
def test_what_could_not_be_read_is_told_when_it_can_be(folder: Folder, name: str) -> None:
    jobs = RemoteJobSubmitter(APP)
    (key,) = folder.good(1)
    path = folder.path / ("settings" if name == "json" else "facts") / f"{key}.{name}"
    whole = path.read_text()
    path.write_text(whole[:-6])
    told, cursor = pull(jobs, None)
    assert not told or told[key]["exit_code"] is None
    path.write_text(whole)
    told, cursor = pull(jobs, cursor)
    assert told[key]["exit_code"] == 0
    assert pull(jobs, cursor)[0] == {}


def test_a_late_fact_waits_for_a_batch_that_is_damaged(folder: Folder) -> None:
    jobs = RemoteJobSubmitter(APP)
    batch = folder.sealed("b1", {f"{key_of(1)}.json": settings_text()}, [key_of(1)])
    _, cursor = pull(jobs, None)
    whole = batch.read_bytes()
    batch.write_bytes(whole[:-9])
    folder.fact(key_of(1), "exit.1", fact_text(code=5, time=1700000000))
    told, cursor = pull(jobs, cursor)
    assert told == {}
    batch.write_bytes(whole)
    told, cursor = pull(jobs, cursor)
    assert told[key_of(1)]["exit_code"] == 5


# ---- cursors ----


def test_reading_that_is_broken_off_goes_on_from_the_cursor(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remotejobs.answer.CHUNK_RECORDS", 3)
    jobs = RemoteJobSubmitter(APP)
    keys = folder.good(60)
    seen: list[str] = []
    changes = jobs.changes()
    for state in changes:
        seen.append(state["jobid"])
        if len(seen) == 31:
            break
    changes.close()
    told, cursor = pull(jobs, changes.cursor)
    assert sorted({*seen, *told}) == sorted(keys)
    assert 29 <= len(told) < 40, "only the part that it broke off in is told again"
    assert pull(jobs, cursor)[0] == {}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cursor: cursor[: len(cursor) // 2],
        lambda cursor: cursor[:255],
        lambda cursor: "",
        lambda cursor: "null",
        lambda cursor: '"\ud800"',
        lambda cursor: "[" * 100_000,
        lambda cursor: cursor.replace('"told":{"', '"told":{"x":7,"'),
        lambda cursor: json.dumps({**json.loads(cursor), "told": {"0": "AAAA"}}),
        lambda cursor: json.dumps(
            {**json.loads(cursor), "last": {"no key": {"state": "done", "evidence": "queue"}}}
        ),
        lambda cursor: json.dumps({**json.loads(cursor), "last": {key_of(1): {"state": "nonsense"}}}),
        lambda cursor: json.dumps({**json.loads(cursor), "app": "another"}),
    ],
)
def test_what_is_no_cursor_of_this_app_is_refused_with_a_sentence(
    folder: Folder, spoil: Callable[[str], str]
) -> None:
    folder.good(20)
    jobs = RemoteJobSubmitter(APP)
    _, cursor = pull(jobs, None)
    with pytest.raises(BadInput, match=r"store it as it is|keep one for each app"):
        jobs.changes(spoil(cursor))


def test_a_cursor_of_another_version_is_told_everything(folder: Folder) -> None:
    folder.good(20)
    jobs = RemoteJobSubmitter(APP)
    told, cursor = pull(jobs, None)
    assert pull(jobs, json.dumps({**json.loads(cursor), "v": 2, "told": 7}))[0] == told


def test_a_cursor_of_another_registry_of_the_same_app_misses_nothing(folder: Folder, tmp_path: Path) -> None:
    folder.good(20)
    jobs = RemoteJobSubmitter(APP)
    _, cursor = pull(jobs, None)
    (folder.path / "version").write_text("remotejobs 1\nfedcba9876543210\n")
    folder.fact(key_of(3), "cleaned")
    folder.settings(key_of(7), settings_text(name="other work"))
    told, _ = pull(jobs, cursor)
    assert set(told) == {key_of(3), key_of(7)}


def test_a_bad_cursor_is_refused_before_the_server_is_asked() -> None:
    shell = FakeShell()
    with pytest.raises(BadInput):
        RemoteJobSubmitter(APP, shell=shell).changes("nonsense")
    assert shell.execs == 0


# ---- hostile answers ----


@pytest.fixture(scope="module")
def whole_answer(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """A true answer with every part that there is (records, beside them, a batch of before and a new one), and the cursor."""
    home = tmp_path_factory.mktemp("home")
    made = Folder.make(home)
    made.good(20)
    words = {
        "scheduler": "slurm",
        "cluster": "elsewhere",
        "host": "elsewhere",
        "id": 7,
        "submitted": 1700000000,
    }
    made.settings(key_of(33))
    made.fact(key_of(33), "id", fact_text(**words))
    made.sealed("b1", {f"{key_of(60)}.json": settings_text()}, [key_of(60)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        shell = Kept()
        _, cursor = pull(RemoteJobSubmitter(APP, shell=shell), None)
        made.fact(key_of(60), "exit.1", fact_text(code=5, time=1700000000))
        made.fact(key_of(5), "cleaned")
        made.sealed("b2", {f"{key_of(61)}.json": settings_text()}, [key_of(61)])
        told, _ = pull(RemoteJobSubmitter(APP, shell=shell), cursor)
    assert set(told) == {key_of(60), key_of(61), key_of(5)}
    assert b"beside" in shell.content and shell.content.count(b" sealed b") == 2
    assert told_by(shell.content, cursor)[0] == told
    return shell.content, cursor


class Kept(LocalShell):
    """This machine; what it said last is kept."""

    content = b""

    def run(self, command: str, data: Any = b"", **options: Any) -> Output:
        output = super().run(command, data, **options)
        self.content = re.sub(
            rb"(?m)^[0-9a-f]{16}(?= )|(?<=\|)[0-9a-f]{16}(?=\|)", b"WORD", output.stdout.read()
        )
        output.stdout.seek(0)
        return output


def told_by(content: bytes, cursor: str) -> tuple[dict[str, dict[str, Any]], str]:
    """What a server that answers this would tell."""

    def says(_command: str, data: bytes) -> bytes:
        return content.replace(b"WORD", data.split(b"\t")[2])

    return pull(RemoteJobSubmitter(APP, shell=FakeShell(says)), cursor)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=30)), min_size=1, max_size=4)
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_server_answers_is_told_or_refused(
    whole_answer: tuple[bytes, str], edits: list[tuple[float, int, bytes]]
) -> None:
    content, cursor = whole_answer
    for where, length, new in edits:
        at = int(where * len(content))
        content = content[:at] + new + content[at + length :]

    try:
        told, after = told_by(content, cursor)
    except RemoteJobsError:
        return
    assert all(JobKey.parse(key) for key in told)
    Told.parse(after, APP)


# ---- size ----

# The largest size of this process alone: what getrusage gives begins with that of its parent.
FIRST_READ = """
from pathlib import Path
from remotejobs import RemoteJobSubmitter
def largest():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
before = largest()
changes = RemoteJobSubmitter("remoteJobs-vistrails").changes()
told = sum(1 for _ in changes)
print(told, largest() - before, len(changes.cursor))
"""


def test_a_first_read_of_many_records_stays_small(home: Path) -> None:
    read = first_read(home, batches=12, live=1000)
    assert read[0] == 13_000
    assert read[1] < 30 << 10, f"{read[1]} KB"


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_first_read_of_100000_records_stays_small(home: Path) -> None:
    read = first_read(home, batches=80, live=20_000)
    assert read[0] == 100_000
    assert read[1] < 60 << 10, f"{read[1]} KB"


def first_read(home: Path, batches: int, live: int) -> list[int]:
    """(records, KB of memory, characters of the cursor)"""
    folder = Folder.make(home)
    text = settings_text(script="#!/bin/sh\n" + "echo a line of a script\n" * 60)
    for number in range(live):
        folder.settings(key_of(number), text)
    for batch in range(1, batches + 1):
        keys = [key_of(live + number) for number in range(1000 * (batch - 1), 1000 * batch)]
        files = {}
        for key in keys:
            files |= {f"{key}.exit.1": fact_text(code=0, time=1700000000), f"{key}.json": text}
        folder.sealed(f"b{batch}", files, keys)
    done = subprocess.run([sys.executable, "-c", FIRST_READ], capture_output=True, text=True, check=True)
    print(done.stdout)
    return [int(word) for word in done.stdout.split()]
