"""Requeues that a real cluster does not make on demand."""

import os
from pathlib import Path

import pytest
from flask import Flask
from web.pocket_slurm import PocketSlurm
from web.syncing import APP, ask, job, sync

from remotejobs import RemoteJobSubmitter


def test_of_attempts_that_never_came_to_their_start_the_last_one_is_known_when_the_queue_forgets(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = PocketSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{slurm.path}:{os.environ['PATH']}")
    jobs = RemoteJobSubmitter(APP)
    settings = jobs.create_settings(None, None, "sh", ["-c", "exit 0"], scheduler="slurm")
    key = str(jobs.submit_job(settings)["jobid"])
    for _ in range(2):
        slurm.start(slurm.jobs()[0])
        slurm.requeue(slurm.jobs()[0])
    with app.app_context():
        sync()
        ask(job(key), "cancel")
        sync()
        slurm.forget(slurm.jobs()[0])
        sync()
        assert (job(key).state, job(key).attempt) == ("cancelled", 3)
    told = jobs.check_state(*key.split("_"))  # type: ignore[arg-type]
    assert (told["status"], told["attempt"]) == ("cancelled", 3), "also for one who has seen nothing of it"
