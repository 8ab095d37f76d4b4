"""Cancelling stops the job that was meant, whole, and says what happened."""

import os
import time
from pathlib import Path

import psutil
import pytest
from cluster.parts import wait_until
from cluster.steps import KILL, Steps
from library.machines import Machine, until

from remotejobs import ActionUnknown, NoSuchJob, ServerProblem
from remotejobs.errors import AnswerBroken

KILLED = "kill -s KILL $$"


def test_a_running_job_is_cancelled_with_all_that_it_started(machine: Machine) -> None:
    jobs = machine.submitter()
    command = "sleep 300 & (sleep 301 & sleep 302) & echo started; wait"
    submitted = jobs.submit_job(jobs.create_settings(None, None, command, scheduler=machine.scheduler))
    out = machine.registry() / "runs" / submitted["jobid"] / "stdout"
    until(jobs, submitted["jobid"], lambda _: out.exists() and out.read_text())
    assert jobs.cancel_job(*parts(submitted)) == "Cancelled."
    state = until(jobs, submitted["jobid"], lambda state: state["ended"] is not None)
    assert (state["status"], state["reason"]) == ("cancelled", "by_user")
    assert not [process for process in processes_of(machine.home) if process.name() == "sleep"]


def test_a_waiting_job_is_cancelled_before_it_starts(cluster: Machine) -> None:
    jobs = cluster.submitter()
    made = jobs.create_settings(None, None, "true", scheduler="slurm", extra=["--begin=now+1hour"])
    submitted = jobs.submit_job(made)
    waits = until(jobs, submitted["jobid"], lambda state: state["status"] == "queued")
    assert waits["evidence"] == "queue"
    assert jobs.cancel_job(*parts(submitted)) == "Cancelled."
    state = until(jobs, submitted["jobid"], lambda state: state["status"] == "cancelled")
    assert state["started"] is None


def test_cancelling_twice_and_after_the_end_is_no_error(machine: Machine) -> None:
    jobs = machine.submitter()
    submitted = jobs.submit_job(jobs.create_settings(None, None, "true", scheduler=machine.scheduler))
    until(jobs, submitted["jobid"], lambda state: state["status"] == "done")
    assert jobs.cancel_job(*parts(submitted)) == "It had already ended."
    assert jobs.cancel_job(*parts(submitted)) == "It had already ended."
    assert jobs.check_state(*parts(submitted), False)["status"] == "done"


def test_a_job_that_never_was_cannot_be_cancelled(machine: Machine) -> None:
    jobs = machine.submitter()
    jobs.submit_job(jobs.create_settings(None, None, "true", scheduler=machine.scheduler))
    with pytest.raises(NoSuchJob):
        jobs.cancel_job("f" * 32, 7)


def test_a_program_that_ignores_term_is_killed_when_told_again(server: Machine) -> None:
    jobs = server.submitter()
    command = "trap '' TERM; echo started; while :; do sleep 0.1; done"
    submitted = jobs.submit_job(jobs.create_settings(None, None, command, scheduler="process"))
    out = server.registry() / "runs" / submitted["jobid"] / "stdout"
    until(jobs, submitted["jobid"], lambda _: out.exists() and out.read_text())
    assert "has not ended yet" in jobs.cancel_job(*parts(submitted))
    assert jobs.check_state(*parts(submitted), False)["status"] == "running"
    assert jobs.cancel_job(*parts(submitted)) == "Cancelled."
    state = until(jobs, submitted["jobid"], lambda state: state["ended"] is not None)
    assert (state["status"], state["exit_code"]) == ("cancelled", 137)


def test_a_process_whose_pid_another_one_has_now_is_left_alone(server: Machine) -> None:
    """The record names pid, start time and boot: here the pid is alive and the start time is another's."""
    jobs = server.submitter()
    submitted = jobs.submit_job(jobs.create_settings(None, None, "sleep 300", scheduler="process"))
    fact = server.registry() / "facts" / f"{submitted['jobid']}.id"
    fact.write_text(
        "".join(
            "start_ticks=1\n" if line.startswith("start_ticks") else line
            for line in fact.read_text().splitlines(True)
        )
    )
    assert jobs.cancel_job(*parts(submitted)) == "It had already ended."
    (alive,) = [process for process in processes_of(server.home) if process.name() == "sleep"]
    state = jobs.check_state(*parts(submitted), False)
    assert (state["status"], state["settling"]) == ("running", True), (
        "left the process table, outcome not yet known"
    )
    alive.kill()


def test_a_wrapper_that_was_killed_does_not_hide_a_living_program(server: Machine) -> None:
    jobs = server.submitter()
    submitted = jobs.submit_job(jobs.create_settings(None, None, "sleep 300", scheduler="process"))
    psutil.Process(int(submitted["scheduler_id"])).kill()
    time.sleep(0.2)
    state = jobs.check_state(*parts(submitted), False)
    assert (state["status"], state["raw"]) == ("running", "orphaned")
    assert jobs.cancel_job(*parts(submitted)) == "Cancelled."
    assert not [process for process in processes_of(server.home) if process.name() == "sleep"]
    assert jobs.check_state(*parts(submitted), False)["status"] == "cancelled"


def test_what_is_cancelled_before_its_program_starts_never_starts_it(machine: Machine) -> None:
    jobs = machine.submitter()
    made = jobs.create_settings(
        None, None, "touch ~/started", [], "touch ~/preparing; sleep 60", "", {}, scheduler=machine.scheduler
    )
    submitted = jobs.submit_job(made)
    until(jobs, submitted["jobid"], lambda _: (machine.home / "preparing").exists())
    jobs.cancel_job(*parts(submitted))
    state = until(jobs, submitted["jobid"], lambda state: state["ended"] is not None)
    assert state["status"] == "cancelled"
    assert not (machine.home / "started").exists()


def test_a_registry_that_is_away_for_a_while_refuses_no_tap(server: Machine) -> None:
    jobs = server.submitter()
    submitted = jobs.submit_job(jobs.create_settings(None, None, "sleep 300", scheduler="process"))
    away = server.home / "away"
    server.registry().rename(away)
    for act in (jobs.cancel_job, jobs.resubmit_job):
        with pytest.raises(ActionUnknown, match="is not there"):
            act(*parts(submitted))
    away.rename(server.registry())
    (server.registry() / "settings").chmod(0)
    with pytest.raises((ActionUnknown, ServerProblem)):
        jobs.resubmit_job(*parts(submitted))
    (server.registry() / "settings").chmod(0o700)
    assert jobs.cancel_job(*parts(submitted)) == "Cancelled."


def test_a_requeued_job_can_be_cancelled_though_its_first_end_is_known(slurm_cluster: Machine) -> None:
    jobs = slurm_cluster.submitter()
    submitted = jobs.submit_job(jobs.create_settings(None, None, "true", scheduler="slurm"))
    sched = slurm_cluster.registry() / "facts" / f"{submitted['jobid']}.sched.1"
    until(jobs, submitted["jobid"], lambda state: state["status"] == "done" and sched.exists())
    requeued = slurm_cluster.shell.run(f"scontrol requeuehold {submitted['scheduler_id']}")
    assert requeued.status == 0, requeued.stderr
    # Slurm counts the new attempt a moment later; until then the row could be another job's that was given this id.
    wait_until(lambda: jobs.cancel_job(*parts(submitted)) == "Cancelled.", "the requeued job's end")
    assert "CANCELLED" in queue(slurm_cluster, submitted) or not queue(slurm_cluster, submitted).strip()


REFUSES = 'echo "scancel: error: Unable to contact slurm controller" >&2; exit 1'


@pytest.mark.parametrize(
    ("step", "what"),
    [
        pytest.param("timeout 20 scancel", REFUSES, id="it does not take the request"),
        pytest.param("awk -v kind=slurm", KILLED, id="the list of them is not made"),
    ],
)
def test_a_cancel_that_never_reached_the_scheduler_is_not_what_ended_the_job(
    cluster: Machine, step: str, what: str
) -> None:
    jobs, steps = cluster.submitter(), Steps(cluster.home)
    go = cluster.home / "go"
    waits = f'echo started; while [ ! -e "{go}" ]; do sleep 0.1; done; exit 3'
    submitted = jobs.submit_job(jobs.create_settings(None, None, waits, scheduler="slurm"))
    until(jobs, submitted["jobid"], lambda state: state["status"] == "running")
    steps.arm(step, "before", what)
    with pytest.raises(ActionUnknown, match="could not be told"):
        jobs.cancel_job(*parts(submitted))
    assert steps.is_struck
    steps.disarm()
    assert not (cluster.registry() / "runs" / submitted["jobid"] / ".told").exists()
    go.touch()
    until(jobs, submitted["jobid"], lambda state: state["exit_code"] == 3)
    assert jobs.cancel_job(*parts(submitted)) == "It had already ended."
    assert jobs.check_state(*parts(submitted), False)["status"] == "failed"


def test_a_cancel_whose_program_died_after_it_told_the_scheduler_is_known_as_ours(
    slurm_cluster: Machine,
) -> None:
    """Nobody heard of it, and the job has ended by the time of the next try."""
    jobs, steps = slurm_cluster.submitter(), Steps(slurm_cluster.home)
    submitted = jobs.submit_job(jobs.create_settings(None, None, "sleep 300", scheduler="slurm"))
    until(jobs, submitted["jobid"], lambda state: state["status"] == "running")
    steps.arm("timeout 20 scancel", "after", KILL)
    with pytest.raises(AnswerBroken):
        jobs.cancel_job(*parts(submitted))
    steps.disarm()
    until(jobs, submitted["jobid"], lambda state: state["status"] == "cancelled")
    assert jobs.cancel_job(*parts(submitted)) == "Cancelled."


def test_a_job_of_which_the_queue_does_not_say_whether_it_is_ours_is_not_called_over(
    slurm_cluster: Machine,
) -> None:
    """A later attempt is told by its script, and Slurm does not say which that is."""
    jobs, steps = slurm_cluster.submitter(), Steps(slurm_cluster.home)
    submitted = jobs.submit_job(jobs.create_settings(None, None, "sleep 300", scheduler="slurm"))
    until(jobs, submitted["jobid"], lambda state: state["status"] == "running")
    time.sleep(1.1)  # another submit time, in whole seconds
    assert slurm_cluster.shell.run(f"scontrol requeuehold {submitted['scheduler_id']}").status == 0
    until(jobs, submitted["jobid"], lambda state: state["attempt"] == 2)
    steps.stand_in("squeue", 'case "$*" in *%o*) exit 0 ;; esac; exec "$real" "$@"')
    with pytest.raises(ActionUnknown, match="did not answer"):
        jobs.cancel_job(*parts(submitted))
    steps.no_stand_in("squeue")
    assert jobs.cancel_job(*parts(submitted)) == "Cancelled."


def queue(cluster: Machine, submitted: dict[str, str]) -> str:
    listed = cluster.shell.run(f"squeue -h -t all -o '%T %r' -j {submitted['scheduler_id']}")
    return listed.stdout.read().decode()


def parts(submitted: dict[str, str]) -> tuple[str, int]:
    hash_, n = submitted["jobid"].rsplit("_", 1)
    return hash_, int(n)


def processes_of(home: Path) -> list[psutil.Process]:
    """The living processes that have this home: of one account, or of this test."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid != os.getpid()
                and process.environ().get("HOME") == str(home)
                and process.status() != "zombie"
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found
