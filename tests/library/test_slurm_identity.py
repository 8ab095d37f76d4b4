"""A job is known by cluster, id and submit time: on real Slurms that give ids again, requeue, preempt, lose nodes, and forget."""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster.parts import base_folder, need, wait_until
from cluster.slurm import Slurm
from cluster.sshd import Account, Sshd
from conftest import ACCOUNTING_COMMANDS, SLURM_COMMANDS
from library.machines import APP, Machine, over_ssh, until

from remotejobs import RemoteJobSubmitter

IDS = 9  # it counts from 1 to this
SHORT_OF_MEMORY = {"FirstJobId": 1, "MaxJobId": IDS + 1, "MinJobAge": 2}


@dataclass
class Forgetful:
    """A Slurm that soon forgets jobs and gives their ids again, and the account that the jobs are of."""

    slurm: Slurm
    account: Account
    jobs: RemoteJobSubmitter

    @property
    def registry(self) -> Path:
        return self.account.home / f".{APP}"

    def submit(self, command: str, **options: Any) -> dict[str, Any]:
        made = self.jobs.create_settings(None, None, command, scheduler="slurm", **options)
        return self.jobs.submit_job(made)

    def states(self, id_: str) -> str:
        """What its queue says of an id: state and restarts; empty once it has forgotten it."""
        rows = self.slurm.run("squeue", "-h", "-a", "-t", "all", "-O", "jobid:9,state:20,restartcnt:9").splitlines()
        return next((" ".join(row.split()[1:]) for row in rows if row.split()[0] == id_), "")

    def forgets(self, id_: str) -> None:
        wait_until(lambda: not self.states(id_), f"Slurm to forget job {id_}", 40)

    def count_on_to(self, id_: str) -> None:
        """The next job gets this id."""
        before = int(id_) - 1 or IDS
        while self._held() != str(before):
            pass

    def another(self, id_: str, user: str | None = None, *options: str) -> None:
        """A job of nobody's record with this very id, running."""
        self.forgets(id_)
        self.count_on_to(id_)
        sbatch = f"cd /tmp && sbatch --parsable -o /dev/null {' '.join(options)} --wrap 'sleep 300'"
        said = self.slurm.sshd.ssh(sbatch, user or self.account.user)
        assert said.stdout.strip() == id_, said
        wait_until(lambda: self.states(id_) == "RUNNING 0", "the other job runs")

    def fresh(self) -> dict[str, dict[str, Any]]:
        """All jobs as a database sees them that comes for the first time."""
        with over_ssh(self.slurm.sshd, self.account.user) as shell:
            jobs = RemoteJobSubmitter(APP, shell=shell)
            return jobs.check_states(jobs.settings.list_keys())

    def _held(self) -> str:
        id_ = self.slurm.run("sbatch", "--parsable", "--hold", "-o", "/dev/null", "--wrap", "true").strip()
        self.slurm.run("scancel", id_)
        return id_


@pytest.fixture(scope="module", params=[True, False], ids=["with accounting", "without accounting"])
def slurm(request: pytest.FixtureRequest) -> Iterator[Slurm]:
    need("Slurm", *SLURM_COMMANDS, *(ACCOUNTING_COMMANDS if request.param else ()), root=True)
    with base_folder("forgetful") as folder:
        sshd = Sshd(folder / "sshd")
        cluster = Slurm(folder / "slurm", sshd, accounting=request.param, cluster="forgetful", settings=SHORT_OF_MEMORY)
        try:
            sshd.start()
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
            sshd.stop()


@pytest.fixture
def forgetful(slurm: Slurm) -> Iterator[Forgetful]:
    account = slurm.sshd.account()
    with over_ssh(slurm.sshd, account.user) as shell:
        yield Forgetful(slurm, account, RemoteJobSubmitter(APP, shell=shell))
    for user in {account.user, slurm.sshd.user}:
        slurm.works("scancel", "--user", user)


def key(submitted: dict[str, Any]) -> tuple[str, int]:
    hash_, n = submitted["jobid"].rsplit("_", 1)
    return hash_, int(n)


@pytest.mark.parametrize("whose", ["our own", "somebody else's"])
def test_the_next_job_with_the_same_id_is_not_taken_for_ours_and_not_cancelled(
    forgetful: Forgetful, whose: str
) -> None:
    """Also when it was requeued, so that its submit time alone would pass for one of a later attempt of ours."""
    user = forgetful.account.user if whose == "our own" else forgetful.slurm.sshd.user
    ours = forgetful.submit("exit 3")
    id_ = ours["scheduler_id"]
    forgetful.another(id_, user)
    for restarts in ("0", "1"):
        if restarts == "1":
            forgetful.slurm.run("scontrol", "requeue", id_)
            wait_until(lambda: forgetful.states(id_).startswith("PENDING"), "the other job waits again")
        state = forgetful.jobs.check_state(*key(ours), False)
        assert (state["status"], state["exit_code"], state["attempt"]) == ("failed", 3, 1)
        assert forgetful.jobs.cancel_job(*key(ours)) == "It had already ended."
        assert forgetful.states(id_).endswith(f" {restarts}") and "CANCEL" not in forgetful.states(id_)
    hash_, n = forgetful.jobs.resubmit_job(*key(ours))
    assert n == 2
    until(forgetful.jobs, f"{hash_}_{n}", lambda state: state["status"] == "failed")


def test_two_jobs_of_ours_that_got_the_same_id_have_an_end_each(forgetful: Forgetful) -> None:
    """Nobody looked before both had ended or lived: the answer speaks of both under one id."""
    first = forgetful.submit("exit 4")
    forgetful.forgets(first["scheduler_id"])
    forgetful.count_on_to(first["scheduler_id"])
    second = forgetful.submit("sleep 300")
    assert second["scheduler_id"] == first["scheduler_id"]
    until(forgetful.jobs, second["jobid"], lambda state: state["status"] == "running")
    assert forgetful.jobs.cancel_job(*key(first)) == "It had already ended."
    assert forgetful.jobs.check_state(*key(second), False)["status"] == "running"
    assert forgetful.jobs.cancel_job(*key(second)) == "Cancelled."
    told = {jobid: state["status"] for jobid, state in forgetful.fresh().items()}
    assert told == {first["jobid"]: "failed", second["jobid"]: "cancelled"}


def test_somebody_elses_job_under_the_name_of_our_action_is_not_taken_for_ours(forgetful: Forgetful) -> None:
    action = str(uuid.uuid4())
    token = action.replace("-", "").translate(str.maketrans("0123456789abcdef", "abcdefghijklmnop"))[:10]
    theirs = forgetful.slurm.run(
        "sbatch", "--parsable", "--hold", "-o", "/dev/null", f"--job-name=true.{token}", "--wrap", "true"
    ).strip()
    made = forgetful.jobs.create_settings(None, None, "true", scheduler="slurm", name="true")
    ours = forgetful.jobs.submit_job(made, action=action)
    assert ours["scheduler_id"] != theirs
    assert forgetful.states(theirs) == "PENDING 0"
    forgetful.slurm.run("scancel", theirs)


RUNS_AGAIN = "[ -e ~/{0} ] && exit 0; touch ~/{0}; sleep 300"


def test_what_is_requeued_or_preempted_opens_again_and_the_first_exit_file_ends_nothing(forgetful: Forgetful) -> None:
    requeued = forgetful.submit(RUNS_AGAIN.format("requeued"))
    preempted = forgetful.submit(RUNS_AGAIN.format("preempted"), partition="low", cores=6)
    both = {requeued["jobid"], preempted["jobid"]}
    run(forgetful, both, "running", 1)
    wait_until(lambda: (forgetful.account.home / "preempted").exists(), "the program runs")
    forgetful.slurm.run("scontrol", "requeue", requeued["scheduler_id"])
    urgent = forgetful.submit("sleep 2", cores=6)
    assert run(forgetful, both, "done", 2) <= {
        *((status, 1) for status in ("running", "finishing", "queued", "held")),
        *((status, 2) for status in ("running", "finishing", "queued", "held", "submitted", "done")),
    }
    codes = {name: (forgetful.registry / "facts" / f"{name}.exit.1").read_text() for name in both}
    assert all(code.startswith("code=143\n") for code in codes.values()), "the first attempts left a note each"
    fresh = forgetful.fresh()
    assert {(fresh[name]["status"], fresh[name]["attempt"], fresh[name]["exit_code"]) for name in both} == {("done", 2, 0)}
    assert forgetful.jobs.check_state(*key(urgent), False)["attempt"] == 1


def run(forgetful: Forgetful, jobids: set[str], status: str, attempt: int) -> set[tuple[str, int]]:
    """Looks again and again until all are there; what was told of any of them on the way."""
    told: set[tuple[str, int]] = set()

    def there() -> bool:
        now = forgetful.jobs.check_states(list(jobids)).values()
        seen = {(state["status"], state["attempt"]) for state in now}
        told.update(seen)
        return seen == {(status, attempt)}

    try:
        wait_until(there, f"{status}, attempt {attempt}", 60)
    except TimeoutError as error:
        raise AssertionError(f"told: {told}; queue: {forgetful.slurm.run('squeue', '-a', '-t', 'all')}") from error
    return told


def test_what_took_the_wrapper_along_is_known_also_to_who_comes_when_slurm_has_forgotten(forgetful: Forgetful) -> None:
    """A kill that nothing could note, and a node that failed; a job that may start again does."""
    killed = forgetful.submit("sleep 301")
    on_the_node = forgetful.submit("sleep 302", extra=["--no-requeue"])
    comes_back = forgetful.submit(RUNS_AGAIN.format("node-failed"))
    run(forgetful, {killed["jobid"], on_the_node["jobid"], comes_back["jobid"]}, "running", 1)
    kill_whole(forgetful, killed["jobid"])
    until(forgetful.jobs, killed["jobid"], lambda state: state["status"] == "failed")
    wait_until(lambda: (forgetful.account.home / "node-failed").exists(), "the program runs")
    node = forgetful.slurm.run("sinfo", "-h", "-o", "%n").strip()
    forgetful.slurm.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    until(forgetful.jobs, on_the_node["jobid"], lambda state: state["status"] == "failed")
    forgetful.slurm.works("scontrol", "update", f"NodeName={node}", "State=RESUME")
    run(forgetful, {comes_back["jobid"]}, "done", 2)
    for gone in (killed, on_the_node):
        forgetful.forgets(gone["scheduler_id"])
    fresh = forgetful.fresh()
    told = {name: (fresh[of["jobid"]]["status"], fresh[of["jobid"]]["reason"]) for name, of in
            {"killed": killed, "node": on_the_node}.items()}
    assert told == {"killed": ("failed", "signal"), "node": ("failed", "node")}
    assert fresh[killed["jobid"]]["exit_code"] == 137
    witness = "accounting" if forgetful.slurm.accounting else "queue"
    assert {fresh[of["jobid"]]["evidence"] for of in (killed, on_the_node)} <= {witness, "accounting"}


def kill_whole(forgetful: Forgetful, jobid: str) -> None:
    """The wrapper and its program, at once, as the kernel does when memory is short."""
    start = (forgetful.registry / "facts" / f"{jobid}.start.1").read_text()
    (pid,) = (int(line.partition("=")[2]) for line in start.splitlines() if line.startswith("pid="))
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        process.send_signal(signal.SIGKILL)


def test_while_accounting_is_stopped_the_queues_word_is_kept_before_it_forgets(forgetful: Forgetful) -> None:
    if not forgetful.slurm.accounting:
        pytest.skip("there is none here")
    killed = forgetful.submit("sleep 303")
    run(forgetful, {killed["jobid"]}, "running", 1)
    accounting = forgetful.slurm.daemons["slurmdbd"]
    accounting.freeze()
    try:
        kill_whole(forgetful, killed["jobid"])
        until(forgetful.jobs, killed["jobid"], lambda state: state["status"] == "failed")
        forgetful.forgets(killed["scheduler_id"])
        state = forgetful.fresh()[killed["jobid"]]
    finally:
        accounting.thaw()
    assert (state["status"], state["reason"], state["evidence"]) == ("failed", "signal", "queue")


def test_what_left_the_queue_unseen_is_looked_for_and_then_lost_with_the_reason(forgetful: Forgetful) -> None:
    """Its wrapper was killed and nobody looked in time: only accounting could tell."""
    killed = forgetful.submit("sleep 304")
    until(forgetful.jobs, killed["jobid"], lambda state: state["status"] == "running")
    kill_whole(forgetful, killed["jobid"])
    forgetful.forgets(killed["scheduler_id"])
    if forgetful.slurm.accounting:
        assert forgetful.fresh()[killed["jobid"]]["reason"] == "signal"
        return
    state = forgetful.jobs.check_state(*key(killed), False)
    assert (state["status"], state["settling"]) == ("running", True)
    gone = forgetful.registry / "facts" / f"{killed['jobid']}.gone.1"
    assert gone.exists()
    gone.write_text(f"time={int(time.time()) - 121}\nend\n")  # two minutes pass
    os.utime(gone)
    state = forgetful.fresh()[killed["jobid"]]
    assert (state["status"], state["reason"], state["evidence"]) == ("lost", "no_trace", "inferred")
