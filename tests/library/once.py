"""Actions that must have one effect, whatever befalls them: each with a look at what became of it."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from library.machines import Machine, until

from remotejobs import ActionUnknown, RemoteJobSubmitter
from remotejobs.records import JobKey

Try = Callable[[RemoteJobSubmitter], object]
Check = Callable[[], None]


@dataclass
class Place:
    """A machine; its jobs leave a line in a file of their own each time that they run."""

    machine: Machine
    jobs: RemoteJobSubmitter = field(init=False)
    number: int = 0
    # A job that begins or ends while its registry is away may not find its script, or nobody may have noted its end.
    an_end_may_be_lost: bool = False

    def __post_init__(self) -> None:
        self.jobs = self.machine.submitter()

    def made(self, script: str = ":", **limits: Any) -> dict[str, Any]:
        self.number += 1
        line = f"echo ran >>~/proof-{self.number}; {script}"
        return self.jobs.create_settings(
            None, None, "sh", ["-c", line], scheduler=self.machine.scheduler, shell="/bin/sh", **limits
        )

    def runs(self) -> int:
        """How many times the program of the latest work began."""
        proof = self.machine.home / f"proof-{self.number}"
        return len(proof.read_text().splitlines()) if proof.exists() else 0

    def wait_over(self, token: str) -> None:
        """Five minutes pass on the server for an action that is looked for."""
        for mark in (self.machine.registry() / "actions" / token).glob("unsettled.?"):
            since, who = mark.read_text().split()
            mark.write_text(f"{int(since) - 301} {who}\n")

    def waiting(self) -> list[str]:
        """The names of the jobs of this account that wait in the queue."""
        said = self.machine.shell.run("squeue -h -u $(id -u) -t PD -o %j 2>/dev/null").stdout.read()
        return said.decode().split()


def submission(place: Place, token: str) -> tuple[Try, Check]:
    before, made = set(place.jobs.settings.list_keys()), place.made()

    def one_job() -> None:
        (key,) = set(place.jobs.settings.list_keys()) - before
        until(place.jobs, key, lambda state: state["status"] == "done")
        assert place.runs() == 1

    return lambda jobs: jobs.submit_job(dict(made), action=token), one_job


def resubmission(place: Place, token: str) -> tuple[Try, Check]:
    first = str(place.jobs.submit_job(place.made("exit 3"))["jobid"])
    hash_ = first.partition("_")[0]
    until(place.jobs, first, lambda state: state["status"] == "failed")

    def one_more() -> None:
        keys = [key for key in place.jobs.settings.list_keys() if hash_ in key]
        assert len(keys) == 2
        if place.an_end_may_be_lost:
            until(place.jobs, keys[1], lambda state: state["settling"] or state["ended"])
            assert place.runs() <= 2
        else:
            until(place.jobs, keys[1], lambda state: state["exit_code"] == 3)
            assert place.runs() == 2

    return lambda jobs: jobs.resubmit_job(hash_, 1, action=token), one_more


def cancelling(place: Place, token: str) -> tuple[Try, Check]:
    jobid = str(place.jobs.submit_job(place.made("sleep 300"))["jobid"])
    hash_ = jobid.partition("_")[0]
    until(place.jobs, jobid, lambda state: state["status"] == "running" and place.runs() == 1)

    def cancelled() -> None:
        until(place.jobs, jobid, lambda state: state["status"] == "cancelled")
        assert place.runs() == 1

    return lambda jobs: jobs.cancel_job(hash_, 1, action=token), cancelled


def resubmission_with_less(place: Place, token: str) -> tuple[Try, Check]:
    """Each run leaves what it was given; a process cannot be given anything."""
    given = place.machine.home / f"given-{place.number + 1}"
    told = f'echo "$SLURM_JOB_PARTITION $SLURM_MEM_PER_NODE $(squeue -h -j "$SLURM_JOB_ID" -o %l)" >>{given}; exit 3'
    first = str(place.jobs.submit_job(place.made(told, walltime=120, memory="400M"))["jobid"])
    hash_ = first.partition("_")[0]
    until(place.jobs, first, lambda state: state["status"] == "failed")

    def once_with_less() -> None:
        keys = [key for key in place.jobs.settings.list_keys() if hash_ in key]
        assert len(keys) == 2
        until(place.jobs, keys[1], lambda state: state["exit_code"] == 3)
        assert given.read_text().splitlines() == ["main 400 2:00", "low 300 1:00"]
        record, _ = place.jobs.settings.look_up(JobKey.parse(keys[1]))
        assert record.settings is not None
        assert record.settings["options"] == {"partition": "low", "memory": 300, "walltime": 60}

    limits: dict[str, Any] = {"walltime": 60, "memory": "300M", "partition": "low"}
    return lambda jobs: jobs.resubmit_job(hash_, 1, action=token, **limits), once_with_less


ACTIONS = {"submit": submission, "resubmit": resubmission, "cancel": cancelling}
ACTIONS_OF_SLURM = ACTIONS | {"resubmit with less": resubmission_with_less}


def new_token() -> str:
    return str(uuid.uuid4())


def settle(place: Place, token: str, act: Try, tries: int = 6) -> None:
    """The same action again, on a machine that is well, until its outcome is known."""
    for _again in range(tries):
        try:
            act(place.jobs)
            return
        except ActionUnknown:
            place.wait_over(token)
            time.sleep(0.2)
    act(place.jobs)
