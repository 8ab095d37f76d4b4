"""What a login's program starts, command by command: counted, and at the k-th of them something happens.

Nothing of this is in the product. An account's PATH begins with a folder of stand-ins that number themselves, and then
run the real command. They count only in the login's own session: what outlives it (a job) is left alone.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cluster.parts import SYSTEM_PATH

# All that the probe starts and that a shell does not have built in.
COMMANDS = """
awk base64 cat chmod cksum cmp cut date env find grep gzip head id ln ls mkdir mv od rm rmdir sed setsid sleep sort tail
timeout tr uname wc xargs sbatch squeue scontrol scancel sacct
"""
KILL = 'kill -s KILL -- "-$STEPS_SESSION"; kill -s KILL 0'
When = Literal["before", "after"]

# `set -C` makes the numbered file the claim of its number: two that start at once do not share one.
STAND_IN = """\
#!/bin/sh
name=${{0##*/}} steps={folder}
real=$steps/real/$name
read -r stat </proc/$$/stat
stat=${{stat##*) }} stat=${{stat#* }} stat=${{stat#* }} stat=${{stat#* }}
[ "${{stat%% *}}" = "$STEPS_SESSION" ] && [ -f "$steps/armed" ] || exec "$real" "$@"
number=1
set -C
until {{ command echo "$name $*" >"$steps/done/$number"; }} 2>/dev/null; do number=$((number + 1)); done
set +C
read -r when at <"$steps/armed"
case $at in
  *[!0-9]*) case "$name $*" in *"$at"*) ;; *) exec "$real" "$@" ;; esac ;;
  "$number") ;;
  *) exec "$real" "$@" ;;
esac
"$steps/real/mkdir" "$steps/struck" 2>/dev/null || exec "$real" "$@"
[ "$when" = before ] || "$real" "$@"
status=$?
. "$steps/action"
[ "$when" = after ] && exit $status
exec "$real" "$@"
"""


@dataclass
class Steps:
    """The stand-ins of one account."""

    home: Path

    def __post_init__(self) -> None:
        (self.folder / "bin").mkdir(parents=True)
        (self.folder / "real").mkdir()
        (self.folder / "done").mkdir()
        script = self.folder / "stand-in"
        script.write_text(STAND_IN.format(folder=self.folder))
        script.chmod(0o755)
        for name in COMMANDS.split():
            if real := shutil.which(name, path=SYSTEM_PATH):
                (self.folder / "real" / name).symlink_to(real)
                (self.folder / "bin" / name).symlink_to(script)
        (self.home / ".bashrc").write_text(f"export PATH={self.folder}/bin:$PATH STEPS_SESSION=$$\n")
        self._give_away()

    @property
    def folder(self) -> Path:
        return self.home / "steps"

    def arm(self, at: int | str, when: When = "before", action: str = KILL) -> None:
        """From the next login on, `action`, lines of shell, is carried out once.

        `at`: the number of a command, from 1 (0: never), or a part of its line.
        """
        shutil.rmtree(self.folder / "done")
        shutil.rmtree(self.folder / "struck", ignore_errors=True)
        (self.folder / "done").mkdir()
        (self.folder / "action").write_text(action + "\n")
        (self.folder / "armed").write_text(f"{when} {at}\n")
        self._give_away()

    def disarm(self) -> None:
        (self.folder / "armed").unlink(missing_ok=True)

    @property
    def done(self) -> list[str]:
        """The commands, each with the first line of its arguments, in the order in which they began."""
        paths = sorted((self.folder / "done").iterdir(), key=lambda path: int(path.name))
        return [path.read_text().partition("\n")[0] for path in paths]

    @property
    def is_struck(self) -> bool:
        return (self.folder / "struck").exists()

    def stand_in(self, name: str, script: str) -> None:
        """Another program in the place of `name`. The real one is "$real"."""
        path = self.folder / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\nreal={self.folder}/real/{name} steps={self.folder}\n{script}\n")
        path.chmod(0o755)

    def no_stand_in(self, name: str) -> None:
        (self.folder / "bin" / name).unlink(missing_ok=True)

    def _give_away(self) -> None:
        owner = self.home.stat()
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
