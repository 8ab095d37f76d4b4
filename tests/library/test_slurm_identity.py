"""A job is known by cluster, id and submit time: on real Slurms that give ids again, requeue, preempt, lose nodes, and forget."""

import functools
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
from library.machines import APP, over_ssh, until

from remotejobs import RemoteJobSubmitter

IDS = 40  # it counts from 1 to this
SHORT_OF_MEMORY = {"FirstJobId": 1, "MaxJobId": IDS + 1, "MinJobAge": 1}


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
        rows = self.slurm.run(
            "squeue", "-h", "-a", "-t", "all", "-O", "jobid:9,state:20,restartcnt:9"
        ).splitlines()
        return next((" ".join(row.split()[1:]) for row in rows if row.split()[0] == id_), "")

    def forgets(self, id_: str) -> None:
        wait_until(lambda: not self.states(id_), f"Slurm to forget job {id_}", 40)

    def count_on_to(self, id_: str) -> None:
        """The next job gets this id: those between are taken by jobs that are cancelled at once."""
        hold = "sbatch --parsable --hold -o /dev/null --wrap true"
        before, last = int(id_) - 1 or IDS, 0
        while last != before:
            count = (before - last) % IDS if last else 1
            burnt = self.slurm.run(
                "sh", "-c", f"for i in $(seq {count}); do {hold}; done; scancel -u root"
            ).split()
            last = int(burnt[-1])

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


WITH = pytest.param(True, id="with accounting")
WITHOUT = pytest.param(False, id="without accounting")
ALSO_WITH = pytest.param(True, id="with accounting", marks=pytest.mark.soak)
on = functools.partial(pytest.mark.parametrize, "slurm", indirect=True)


@pytest.fixture(scope="module")
def slurm(request: pytest.FixtureRequest) -> Iterator[Slurm]:
    need("Slurm", *SLURM_COMMANDS, *(ACCOUNTING_COMMANDS if request.param else ()), root=True)
    with base_folder("forgetful") as folder:
        sshd = Sshd(folder / "sshd")
        cluster = Slurm(
            folder / "slurm", sshd, accounting=request.param, cluster="forgetful", settings=SHORT_OF_MEMORY
        )
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


OURS, THEIRS = "our own", "somebody else's"


@pytest.mark.parametrize(
    ("slurm", "whose"),
    [
        pytest.param(False, OURS, id="without accounting, our own"),
        pytest.param(True, THEIRS, id="with accounting, somebody else's"),
        pytest.param(False, THEIRS, id="without accounting, somebody else's", marks=pytest.mark.soak),
        pytest.param(True, OURS, id="with accounting, our own", marks=pytest.mark.soak),
    ],
    indirect=["slurm"],
)
def test_the_next_job_with_the_same_id_is_not_taken_for_ours_and_not_cancelled(
    forgetful: Forgetful, whose: str
) -> None:
    """Also when it was requeued, so that its submit time alone would pass for one of a later attempt of ours."""
    user = forgetful.account.user if whose == OURS else forgetful.slurm.sshd.user
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


@on(argvalues=[ALSO_WITH, WITHOUT])
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


@on(argvalues=[ALSO_WITH, WITHOUT])
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


@on(argvalues=[ALSO_WITH, WITHOUT])
def test_what_is_requeued_or_preempted_opens_again_and_the_first_exit_file_ends_nothing(
    forgetful: Forgetful,
) -> None:
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
    notes = [forgetful.registry / "facts" / f"{name}.exit.1" for name in both]
    assert all(note.exists() for note in notes), "the first attempts left a note each"
    fresh = forgetful.fresh()
    assert {(fresh[name]["status"], fresh[name]["attempt"], fresh[name]["exit_code"]) for name in both} == {
        ("done", 2, 0)
    }
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
        raise AssertionError(
            f"told: {told}; queue: {forgetful.slurm.run('squeue', '-a', '-t', 'all')}"
        ) from error
    return told


@on(argvalues=[ALSO_WITH, WITHOUT])
def test_what_took_the_wrapper_along_is_known_also_to_who_comes_when_slurm_has_forgotten(
    forgetful: Forgetful,
) -> None:
    """A kill that nothing could note, seen and unseen, and a node that failed; a job that may start again does."""
    killed, unseen = forgetful.submit("sleep 301"), forgetful.submit("sleep 303")
    on_the_node = forgetful.submit("sleep 302", extra=["--no-requeue"])
    comes_back = forgetful.submit(RUNS_AGAIN.format("node-failed"))
    run(forgetful, {job["jobid"] for job in (killed, unseen, on_the_node, comes_back)}, "running", 1)
    wait_until(lambda: (forgetful.account.home / "node-failed").exists(), "the program runs")
    kill_whole(forgetful, killed["jobid"])
    until(forgetful.jobs, killed["jobid"], lambda state: state["status"] == "failed")
    kill_whole(forgetful, unseen["jobid"])
    forgetful.forgets(unseen["scheduler_id"])
    node = forgetful.slurm.run("sinfo", "-h", "-o", "%n").strip()
    forgetful.slurm.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    until(forgetful.jobs, on_the_node["jobid"], lambda state: state["status"] == "failed")
    forgetful.slurm.works("scontrol", "update", f"NodeName={node}", "State=RESUME")
    run(forgetful, {comes_back["jobid"]}, "done", 2)
    for gone in (killed, on_the_node):
        forgetful.forgets(gone["scheduler_id"])
    states = forgetful.fresh()
    assert told(states[killed["jobid"]]) == ("failed", "signal", 137)
    assert told(states[on_the_node["jobid"]])[:2] == ("failed", "node")
    if forgetful.slurm.accounting:
        assert told(states[unseen["jobid"]]) == ("failed", "signal", 137)
    else:
        is_lost_after_two_minutes(forgetful, unseen["jobid"])


def told(state: dict[str, Any]) -> tuple[object, ...]:
    return state["status"], state["reason"], state["exit_code"]


def is_lost_after_two_minutes(forgetful: Forgetful, jobid: str) -> None:
    """Nobody looked before Slurm forgot it, and there is no accounting: it settles, and is lost with the reason."""
    assert forgetful.fresh()[jobid]["settling"]
    gone = forgetful.registry / "facts" / f"{jobid}.gone.1"
    gone.write_text(f"time={int(time.time()) - 121}\nend\n")
    assert told(forgetful.fresh()[jobid]) == ("lost", "no_trace", None)


def kill_whole(forgetful: Forgetful, jobid: str) -> None:
    """The wrapper and its program, at once, as the kernel does when memory is short."""
    fact = forgetful.registry / "facts" / f"{jobid}.start.1"
    wait_until(fact.exists, "the queue says that a job is running before its wrapper does")
    start = fact.read_text()
    (pid,) = (int(line.partition("=")[2]) for line in start.splitlines() if line.startswith("pid="))
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        process.send_signal(signal.SIGKILL)


@on(argvalues=[WITH])
def test_while_accounting_is_away_the_queues_word_is_kept_before_it_forgets(forgetful: Forgetful) -> None:
    """The last one here: accounting stays away."""
    killed = forgetful.submit("sleep 304")
    run(forgetful, {killed["jobid"]}, "running", 1)
    forgetful.slurm.daemons["slurmdbd"].stop()
    kill_whole(forgetful, killed["jobid"])
    until(forgetful.jobs, killed["jobid"], lambda state: state["status"] == "failed")
    forgetful.forgets(killed["scheduler_id"])
    state = forgetful.fresh()[killed["jobid"]]
    assert (told(state), state["evidence"]) == (("failed", "signal", 137), "queue")
