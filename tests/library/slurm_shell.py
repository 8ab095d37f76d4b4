"""Runs the functions of slurm.sh as the probe does: under a plain sh, from standard input."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SLURM_SH = ROOT / "remotejobs" / "schedulers" / "slurm.sh"
TRANSCRIPTS = ROOT / "tests" / "transcripts" / "slurm"
CASES = sorted(path.name for path in TRANSCRIPTS.iterdir() if path.is_dir())
WORD = "0123456789abcdef"
# All that are installed here; /bin/sh is one of them.
SHELLS = [shell for shell in (["dash"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(shell[0])]
AWKS = [awk for awk in ("mawk", "gawk", "original-awk") if shutil.which(awk)]

_PROGRAM = f'LC_ALL=C TZ=UTC; export LC_ALL TZ\nas_person() {{ unset TZ LC_ALL; }}\nset -f\n{SLURM_SH.read_text()}\n"$@"\n'


def run(
    *call: str,
    data: str = "",
    env: dict[str, str] | None = None,
    shell: list[str] | None = None,
    now: int | None = None,
    **options: object,
) -> subprocess.CompletedProcess[str]:
    words = {"WORD": WORD, "BOUND": "timeout 20", "PATH": os.environ["PATH"]}
    if now is not None:
        words["NOW"] = str(now)
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*(shell or ["sh"]), "-c", _PROGRAM, "sh", *call],
        input=data,
        capture_output=True,
        text=True,
        timeout=60,
        env=words | (env or {}),
        check=False,
        **options,
    )


class Recorded:
    """Commands that print what Slurm printed, for a PATH of their own, and note what they were asked."""

    def __init__(self, folder: Path, case: str, awk: str | None = None) -> None:
        self.folder, self.case = folder, TRANSCRIPTS / case
        self.asked = folder / "asked"
        self.uid = "1001"
        self.says("scontrol", "Slurmctld(primary) at head is UP\n")
        self.says("sacct", "", status=1)
        for name in ("squeue", "sacct", "scontrol"):
            if (self.case / name).exists():
                self.says(name, (self.case / name).read_text())
        self.says("id", f"{self.uid}\n")
        self.scripts = folder / "scripts"
        scripts = self.case / "scripts"
        self.scripts.write_text(scripts.read_text() if scripts.exists() else "")
        if awk:
            (folder / "awk").symlink_to(str(shutil.which(awk)))

    def says(self, command: str, output: str, status: int = 0) -> None:
        (self.folder / f"{command}.out").write_text(output)
        script = self.folder / command
        script.write_text(
            f'#!/bin/sh\necho {command} "$@" >>{self.asked}\ncase $* in *%o) cat {self.folder}/scripts; exit ;; esac\n'
            f"cat {self.folder}/{command}.out\nexit {status}\n"
        )
        script.chmod(0o755)

    @property
    def open(self) -> str:
        return (self.case / "open").read_text()

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}:{os.environ['PATH']}"}

    def query(self, shell: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        return run("slurm_query", data=self.open, env=self.env, shell=shell)
