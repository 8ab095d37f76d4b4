"""The batch systems that are known: one line each, and x.py, x.sh and a folder of transcripts."""

from remotejobs.schedulers.base import Row, Scheduler
from remotejobs.schedulers.process import Process
from remotejobs.schedulers.slurm import Slurm

SCHEDULERS: dict[str, type[Scheduler]] = {
    "slurm": Slurm,
    "process": Process,
}

__all__ = ["SCHEDULERS", "Process", "Row", "Scheduler", "Slurm"]
