"""A Slurm in one folder, whose clockwork a test turns by hand: the commands that the probe uses, and no daemon.

For what a real one does not do on demand, at once and a thousand times: to say "timed out" and take the job, to show it late,
to requeue, to forget. What the real one prints is in tests/transcripts, and both are read by the same probe.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from time import time as clock  # the server's own: a test may move the clock of those who ask
from typing import Self

_COMMANDS = r"""#!/bin/sh
T=${0%/*/*}/jobs
keep() {
  printf '%s\n' "id=$id" "restarts=$restarts" "submit=$submit" "state=$state" "exit=$exit" "start=$start" "end=$end" \
    "reason=$reason" "name=$name" "script=$script" "hidden=$hidden" "released=$released" >"$T/.new" && mv "$T/.new" "$T/$id"
}
case ${0##*/} in
squeue)
  only= named= word=
  while [ $# -gt 0 ]; do case $1 in --name=*) named=${1#*=} ;; -j) only=$2; shift ;; -o) word=${2%%|*}; shift ;; esac; shift; done
  for job in "$T"/[0-9]*; do
    [ -f "$job" ] || continue
    . "$job"
    case ,${only:-$id}, in *,"$id",*) ;; *) continue ;; esac
    [ -z "$hidden" ] && [ "${named:-$name}" = "$name" ] || continue
    [ -z "$word" ] || { echo "$word|$id|$script"; continue; }
    printf '%-12s%-8s%-20s%-16s%-12s%-20s%-20s%-16s%-64s%-64s%-80s\n' "$id" "$restarts" "$submit" "$state" "$exit" "$start" \
      "$end" UNLIMITED pocket '' "$reason"
  done ;;
sbatch)
  for word; do case $word in --job-name=*) name=${word#*=} ;; esac; script=$word; done
  read -r id <"$T/next" && echo $((id + 1)) >"$T/next"
  restarts=0 submit=$(date +%s) state=PENDING exit=0 start=N/A end=N/A reason=JobHeldUser hidden= released=
  [ ! -e "$T/late" ] || hidden=yes
  [ -s "$T/late" ] || rm -f "$T/late"
  keep
  if [ -e "$T/timeout" ]; then rm "$T/timeout"; echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1; fi
  echo "$id" ;;
scancel)
  only=
  for id; do
    case $id in --name=*) only=${id#*=} ;; esac
    [ -f "$T/$id" ] && . "$T/$id" && [ "${only:-$name}" = "$name" ] || continue
    case $state in PENDING | RUNNING) state=CANCELLED end=$(date +%s) reason=None; keep ;; esac
  done ;;
scontrol)
  case $1 in
  ping) echo 'Slurmctld(primary) at pocket is UP' ;;
  show) printf '%s\n' 'ClusterName             = pocket' 'AccountingStorageType   = accounting_storage/none' ;;
  update) id=${2#*=}; [ -f "$T/$id" ] && . "$T/$id" && name=${3#*=} && keep ;;
  release)
    [ -f "$T/$2" ] && . "$T/$2" || { echo 'Invalid job id specified' >&2; exit 1; }
    [ "$state" = PENDING ] || { echo 'Job is no longer pending execution' >&2; exit 1; }
    reason=Priority released="$released."; keep ;;
  esac ;;
*) exit 1 ;;
esac
"""


@dataclass
class PocketJob:
    id: str
    state: str
    restarts: int
    submit: int
    script: str
    hidden: bool
    releases: int
    words: dict[str, str] = field(repr=False)

    @property
    def key(self) -> str:
        return Path(self.script).parent.name

    @property
    def attempt(self) -> int:
        return self.restarts + 1

    @classmethod
    def read(cls, path: Path) -> Self:
        words = dict(line.split("=", 1) for line in path.read_text().splitlines())
        return cls(
            words["id"],
            words["state"],
            int(words["restarts"]),
            int(words["submit"]),
            words["script"],
            bool(words["hidden"]),
            len(words["released"]),
            words,
        )


class PocketSlurm:
    def __init__(self, folder: Path) -> None:
        self.jobs_folder, self.path = folder / "jobs", folder / "bin"
        for path in (self.jobs_folder, self.path):
            path.mkdir(parents=True)
        for name in ("squeue", "sbatch", "scancel", "scontrol", "sacct"):
            (self.path / name).write_text(_COMMANDS)
            (self.path / name).chmod(0o755)
        (self.jobs_folder / "next").write_text("1\n")

    def jobs(self) -> list[PocketJob]:
        return [PocketJob.read(path) for path in sorted(self.jobs_folder.glob("[0-9]*"))]

    def start(self, job: PocketJob) -> None:
        self._keep(job, state="RUNNING", start=str(int(clock())), reason="None")

    def end(self, job: PocketJob, code: int) -> None:
        """Its script really runs, here and at once: it writes what a job's wrapper writes."""
        environment = {
            **os.environ, "SLURM_JOB_ID": job.id, "SLURM_RESTART_COUNT": str(job.restarts), "CODE": str(code),
        }  # fmt: skip
        subprocess.run([job.script], env=environment, check=False, capture_output=True, timeout=60)
        end = str(int(clock()))
        self._keep(job, state="FAILED" if code else "COMPLETED", exit=str(code << 8), end=end)

    def requeue(self, job: PocketJob) -> None:
        submit = max(int(clock()), job.submit)
        words = {
            "restarts": str(job.restarts + 1),
            "submit": str(submit),
            "start": "N/A",
            "reason": "BeginTime",
        }
        self._keep(job, state="PENDING", **words)

    def forget(self, job: PocketJob) -> None:
        (self.jobs_folder / job.id).unlink()

    def says_timed_out(self) -> None:
        (self.jobs_folder / "timeout").touch()

    def shows_late(self, *, all_of_them: bool) -> None:
        """The next one, or whatever comes until it `shows_all`."""
        (self.jobs_folder / "late").write_text("all\n" * all_of_them)

    def shows_all(self) -> None:
        (self.jobs_folder / "late").unlink(missing_ok=True)
        for job in self.jobs():
            if job.hidden:
                self._keep(job, hidden="")

    def _keep(self, job: PocketJob, **words: str) -> None:
        new = self.jobs_folder / ".by-hand"
        new.write_text("".join(f"{name}={value}\n" for name, value in (job.words | words).items()))
        shutil.move(new, self.jobs_folder / job.id)
