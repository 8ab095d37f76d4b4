"""slurm.sh's verbs on a real Slurm, as the user whose jobs they are."""

import os
import pwd
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from cluster.parts import wait_until
from cluster.slurm import Slurm as Cluster
from cluster.slurm import ended
from library.slurm_shell import WORD, run

from remotejobs.records import Evidence, JobState
from remotejobs.schedulers.base import Row
from remotejobs.schedulers.slurm import Slurm

Verb = Callable[..., CompletedProcess[str]]


def verbs(cluster: Cluster, folder: Path) -> Verb:
    """`verb("slurm_find", name)`: run by the test's account, in a run folder of its own."""
    account = pwd.getpwnam(cluster.sshd.user)
    folder.mkdir()
    os.chown(folder, account.pw_uid, account.pw_gid)

    def verb(*call: str, data: str = "", **env: str) -> CompletedProcess[str]:
        words = {**cluster.env, "HOME": str(folder), **env}
        as_account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        return run(*call, data=data, env=words, cwd=folder, **as_account)

    return verb


@pytest.fixture
def verb(slurm: Cluster) -> Iterator[Verb]:
    yield verbs(slurm, slurm.sshd.home / f"run-{time.monotonic_ns()}")
    slurm.works("scancel", "--user", slurm.sshd.user)


def script(verb: Verb, *lines: str, name: str = "script") -> str:
    verb("tee", name, data="\n".join(["#!/bin/sh", *lines, ""]))
    return name


def submitted(verb: Verb, name: str, *lines: str) -> str:
    """The held job's `open` line: id, submit time, attempt, key."""
    answer = verb("slurm_submit_held", name, script(verb, *lines))
    assert (answer.returncode, answer.stderr) == (0, "")
    found = verb("slurm_find", name).stdout.split()
    assert found[0] == answer.stdout.strip()
    return f"{found[0]} {found[1]} 1 0123456789abcdef0123456789abcdef_1\n"


def released(verb: Verb, name: str, *lines: str) -> str:
    job = submitted(verb, name, *lines)
    assert verb("slurm_release", job.split()[0], "its own name").returncode == 0
    return job


def rows(verb: Verb, job: str) -> list[Row]:
    answer = verb("slurm_query", data=job)
    assert answer.returncode == 0, answer
    return Slurm().read_queue(answer.stdout.splitlines()).get(job.split()[0], [])


def reaches(
    verb: Verb, job: str, state: JobState, attempt: int = 1, by: tuple[Evidence, ...] = tuple(Evidence)
) -> Row:
    """Waits until the job is in that state, and says the row that says so, accounting's before the queue's.

    `by`: who has to say so. The queue knows it first.
    """
    seen: list[Row] = []

    def there() -> bool:
        said = [row for row in rows(verb, job) if (row.state, row.attempt) == (state, attempt)]
        seen[:] = [row for row in said if row.evidence in by]
        return bool(seen)

    wait_until(there, f"job {job.split()[0]} to be {state}", 30)
    return seen[-1]


def test_a_held_job_is_found_by_its_name_runs_under_its_own_once_released_and_is_followed_to_its_end(
    verb: Verb, slurm: Cluster
) -> None:
    job = submitted(verb, "work.abcdefghij", "echo hello", "exit 3")
    id_ = job.split()[0]
    (row,) = rows(verb, job)
    assert (row.state, row.reason, row.listed) == (JobState.HELD, "held_by_user", True)
    live = verb("slurm_live", data=verb("slurm_query", data=job).stdout).stdout
    assert live.split() == [id_, "1", job.split()[1]]
    for _again in range(2):
        assert verb("slurm_release", id_, 'its "own" name, $HOME ü').returncode == 0
    assert slurm.run("squeue", "-h", "-t", "all", "-j", id_, "-o", "%j").strip() == 'its "own" name, $HOME ü'
    ended(slurm, id_)
    row = reaches(verb, job, JobState.FAILED)
    # sacct takes 128 off some codes, so none of its is believed.
    code = 3 if row.evidence is Evidence.QUEUE else None
    assert (row.exit_code, row.reason, row.attempt) == (code, "exit_code", 1)
    assert verb("slurm_release", id_, "x").returncode == 0  # it is past waiting
    answer = verb("slurm_query", data=job).stdout
    (ending,) = verb("slurm_endings", data=answer).stdout.splitlines()
    assert ending.startswith(f"{id_} 1 {job.split()[1]} a|{id_}|1|")
    assert verb("slurm_live", data=answer).stdout == ""


def test_a_job_is_found_by_its_exact_name_in_every_state(verb: Verb, slurm: Cluster) -> None:
    job = submitted(verb, "exact.name", "sleep 60")
    id_, submit = job.split()[:2]
    assert verb("slurm_find", "exact.nam").stdout == ""
    assert verb("slurm_find", "exact.name").stdout == f"{id_} {submit} listed\n"  # held
    slurm.run("scontrol", "release", id_)
    reaches(verb, job, JobState.RUNNING)
    assert verb("slurm_find", "exact.name").stdout == f"{id_} {submit} listed\n"
    assert verb("slurm_cancel", data=f"{id_}\n999999\n~\n").stdout == "~\n"
    row = reaches(verb, job, JobState.CANCELLED, by=(Evidence.ACCOUNTING,))
    assert verb("slurm_find", "exact.name").stdout == f"{id_} {submit} listed\n"
    assert row.reason == "by_user"


def test_a_job_that_was_cancelled_while_held_is_found_also_in_accounting_alone(
    verb: Verb, slurm: Cluster
) -> None:
    job = submitted(verb, "held.only", "true")
    id_, submit = job.split()[:2]
    # One that is cancelled before accounting has heard of it is at times kept there as the job of nobody.
    wait_until(lambda: slurm.run("sacct", "-n", "-X", "-j", id_).strip(), "accounting to know the job")
    verb("slurm_cancel", data=f"{id_}\n")
    ended(slurm, id_)
    queue = blind(verb, "squeue", "exit 0")
    assert verb("slurm_find", "held.only", PATH=queue).stdout == f"{id_} {submit}\n"
    answer = verb("slurm_query", data=job, PATH=queue).stdout.splitlines()
    assert answer[0] == f"n|{WORD}|{id_}|{submit}"
    assert answer[1].startswith(f"a|{WORD}|{id_}|1|{submit}|CANCELLED by ")
    assert answer[2:] == ["accounting complete"]


def blind(verb: Verb, command: str, *lines: str) -> str:
    """A PATH on which that command does something else: for faults that the real one does not produce when asked."""
    verb("mkdir", "-p", "bin")
    script(verb, *lines, name=f"bin/{command}")
    verb("chmod", "755", f"bin/{command}")
    return verb("pwd").stdout.strip() + "/bin:" + os.environ["PATH"]


def test_a_requeue_is_attempt_two_with_a_later_submit_time(verb: Verb, slurm: Cluster) -> None:
    job = released(verb, "again.x", "sleep 60")
    id_ = job.split()[0]
    reaches(verb, job, JobState.RUNNING)
    time.sleep(1)
    slurm.run("scontrol", "requeue", id_)
    row = reaches(verb, job, JobState.RUNNING, attempt=2)
    assert row.submitted is not None
    assert row.submitted > int(job.split()[1])
    verb("slurm_cancel", data=f"{id_}\n")
    row = reaches(verb, job, JobState.CANCELLED, attempt=2)
    answer = verb("slurm_query", data=job).stdout
    endings = verb("slurm_endings", data=answer).stdout.splitlines()
    assert [line.split()[:2] for line in endings] == [[id_, "2"], [id_, "1"]]


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        (["#SBATCH --partition=nowhere"], "partition"),
        (["#SBATCH --no-such-option=1"], "no-such-option"),
        (["#SBATCH --time=soon"], "ime"),
    ],
)
def test_a_refusal_is_one_clean_sentence(verb: Verb, lines: list[str], part: str) -> None:
    answer = verb("slurm_submit_held", "refused.x", script(verb, *lines))
    assert answer.returncode not in (0, 75)
    assert answer.stdout == ""
    (sentence,) = answer.stderr.splitlines()
    assert sentence.startswith("Slurm refused the job: ")
    assert part in sentence
    assert sentence.endswith((".", "!", "?"))
    assert "sbatch: error" not in sentence


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a;id", "$(id)", "a\nb", "a'b", "ü"])
def test_a_name_that_slurm_would_take_for_several_is_refused_before_it_is_asked(
    verb: Verb, name: str
) -> None:
    assert verb("slurm_submit_held", name, script(verb, "true")).returncode == 2
    assert verb("slurm_find", name).returncode != 0


@pytest.mark.parametrize(
    ("says", "status"),
    [
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", 1),
        ("sbatch: error: Unable to contact slurm controller (connect failure)", 1),
        ("sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received", 1),
        ("", 124),
        ("", 137),
        ("Nothing that is an id", 0),
    ],
)
def test_when_sbatch_does_not_say_what_became_of_the_job_it_is_unknown(
    verb: Verb, says: str, status: int
) -> None:
    path = blind(verb, "sbatch", f"echo '{says}' >&2", f"exit {status}")
    answer = verb("slurm_submit_held", "unknown.x", script(verb, "true"), PATH=path)
    assert (answer.returncode, answer.stdout) == (75, "")


def test_a_job_inherits_nothing_that_was_set_to_read_slurm(verb: Verb, slurm: Cluster) -> None:
    job = released(verb, "env.x", "env > env.txt")
    ended(slurm, job.split()[0])
    names = {line.partition("=")[0] for line in verb("cat", "env.txt").stdout.splitlines()}
    assert not names & {"TZ", "LC_ALL", "SLURM_TIME_FORMAT"}
    assert "SLURM_JOB_ID" in names


def test_what_a_person_set_for_squeue_changes_nothing(verb: Verb) -> None:
    job = submitted(verb, "mine.x", "true")
    plain = verb("slurm_query", data=job).stdout
    odd = {
        "SQUEUE_FORMAT": "%i",
        "SQUEUE_STATES": "RUNNING",
        "SQUEUE_USERS": "nobody",
        "SLURM_TIME_FORMAT": "relative",
        "SLURM_CLUSTERS": "elsewhere",
    }
    assert verb("slurm_query", data=job, **odd).stdout == plain


def test_jobs_of_another_id_or_name_cannot_forge_a_row(verb: Verb, slurm: Cluster) -> None:
    job = submitted(verb, "real.x", "true")
    id_, submit = job.split()[:2]
    forged = f"x\n{id_:12}0       {submit:20}COMPLETED       0\nq|{WORD}|{id_}|1|{submit}|COMPLETED|0|1|1|1:00|main|n1|None"
    odd = verb("sbatch", "--parsable", "--hold", f"--job-name={forged}", f"--comment={forged}", "script")
    assert odd.returncode == 0
    (row,) = rows(verb, job)
    assert row.state is JobState.HELD


def test_a_frozen_controller_is_noticed_soon_and_nothing_is_said_to_be_gone(
    verb: Verb, slurm: Cluster
) -> None:
    job = submitted(verb, "frozen.x", "true")
    slurm.daemons["slurmctld"].freeze()
    try:
        began = time.monotonic()
        answer = verb("slurm_query", data=job)
        assert time.monotonic() - began < 5
        assert (answer.returncode, answer.stdout) == (1, "accounting unasked\n")
        assert verb("slurm_find", "frozen.x").returncode != 0
        assert verb("slurm_cluster").returncode != 0
    finally:
        slurm.daemons["slurmctld"].thaw()
    assert verb("slurm_cluster").stdout == f"{slurm.cluster}\n"


def test_a_silent_accounting_leaves_the_queue_whole_and_its_word_is_kept(verb: Verb, slurm: Cluster) -> None:
    job = released(verb, "silent.x", "exit 0")
    reaches(verb, job, JobState.DONE)
    slurm.daemons["slurmdbd"].freeze()
    try:
        answer = verb("slurm_query", data=job)
    finally:
        slurm.daemons["slurmdbd"].thaw()
    assert answer.returncode == 0
    first, last = answer.stdout.splitlines()
    assert first.startswith(f"q|{WORD}|{job.split()[0]}|1|")
    assert last == "accounting failed"
    assert verb("slurm_endings", data=answer.stdout).stdout.endswith(first.replace(f"{WORD}|", "") + "\n")


def test_without_accounting_the_queues_own_finished_rows_are_the_endings(
    slurm_without_accounting: Cluster,
) -> None:
    cluster = slurm_without_accounting
    verb = verbs(cluster, cluster.sshd.home / f"run-{time.monotonic_ns()}")
    job = released(verb, "plain.x", "exit 4")
    row = reaches(verb, job, JobState.FAILED)
    assert (row.evidence.value, row.exit_code) == ("queue", 4)
    answer = verb("slurm_query", data=job).stdout
    assert answer.endswith("\naccounting none\n")
    (ending,) = verb("slurm_endings", data=answer).stdout.splitlines()
    assert ending.startswith(f"{job.split()[0]} 1 {job.split()[1]} q|")
    kept = Slurm().read_ending(ending.split(" ", 3)[3])
    assert kept is not None
    assert (kept.state, kept.exit_code) == (JobState.FAILED, 4)


HEADER = {"walltime": 3700, "cores": 2, "memory": 100, "partition": "main", "extra": ["--nice=5"]}


def test_sbatch_reads_a_header_as_it_is_meant(verb: Verb, slurm: Cluster) -> None:
    """What a person asked for explicitly wins over the script's own lines."""
    name = 'a "name" # with \\ all'
    user = Slurm().directives("#!/bin/sh\n#SBATCH --time=5\n#SBATCH --mem=7M  # little\n#SBATCH -o out.txt\n")
    lines = [*Slurm.header_first, *user, *Slurm().header(HEADER, name)]
    answer = verb("sbatch", "--parsable", "--hold", script(verb, *lines, "true"))
    assert answer.returncode == 0, answer.stderr
    shown = slurm.run("scontrol", "show", "job", answer.stdout.strip())
    for part in (
        f"JobName={name}\n",
        "TimeLimit=01:02:00",  # Slurm counts in minutes
        "CPUs/Task=2",
        "MinMemoryNode=100M",
        "Nice=5",
        "StdErr=" + verb("pwd").stdout.strip() + "/stderr",
        "/out.txt\n",
    ):
        assert part in shown
