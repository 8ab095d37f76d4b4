"""A machine that was restarted: what ran on it is lost, and says why; it does not run for ever."""

import os
import signal
from pathlib import Path
from typing import Any

import psutil
from cluster.parts import need
from flask import Flask
from web.syncing import job, submit, sync, wait_for

from remotejobs.shell import LocalShell


class Restarted(LocalShell):
    """This machine with the boot id of another start, in a mount namespace of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._boot, self._inner = folder / "boot_id", folder / "command"
        self._boot.write_text("01234567-89ab-4cde-8f01-23456789abcd\n")

    def run(self, command: str, *arguments: Any, **options: Any) -> Any:
        self._inner.write_text(command + "\n")
        mount = f"mount --bind {self._boot} /proc/sys/kernel/random/boot_id"
        return super().run(f"exec unshare -m sh -c '{mount} && exec sh {self._inner}'", *arguments, **options)


def test_what_ran_before_a_restart_is_lost_and_its_pid_is_left_alone(app: Flask, tmp_path: Path) -> None:
    need("unshare", "unshare", root=True)
    with app.app_context():
        key = submit("sleep 300")
        pid = int(wait_for(key, "running").scheduler_id)
        sync(through=lambda _: Restarted(tmp_path))
        row = job(key)
        assert (row.state, row.reason, row.evidence, row.settling) == ("lost", "rebooted", "inferred", False)
        assert psutil.pid_exists(pid)
        os.killpg(pid, signal.SIGKILL)
