"""A small Debian of its own, laid over this machine's files, on which deploy/install.sh really installs.

What is written goes into memory, and mounts stand in a namespace of their own: all of it is gone with the tests. No systemd
runs there; `cage.py` starts the units as systemd would.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from cluster.parts import SYSTEM_PATH, Daemon, need

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
PARTS = ("setup.cfg", "pyproject.toml", "wsgi.py", "README.md", "LICENSE")
FOLDERS = ("remotejobs", "remoteweb", "static", "templates", "migrations", "deploy")
# /tmp and /run are new. What other tests mounted here does not come along.
MOUNTS = """
set -e
mount -t tmpfs -o mode=755 none "$1"
cd "$1"
mkdir changed work root
mount -t overlay -o lowerdir=/,upperdir=changed,workdir=work overlay root
mount -t proc proc root/proc
mount --rbind /dev root/dev
mount -t tmpfs -o mode=755 none root/run
mount -t tmpfs -o mode=1777 none root/tmp
mkdir -p root/srv/checkout
mount --rbind "$2" root/srv/checkout
touch ready
exec sleep infinity
"""


class Vps:
    def __init__(self, folder: Path) -> None:
        need("a VPS", "unshare", "nsenter", "caddy", "systemd-sysusers", "systemd-analyze", "curl", root=True)
        self.folder, self.root, self.source = folder, folder / "vps" / "root", folder / "checkout"
        (folder / "vps").mkdir()
        for name in FOLDERS:
            shutil.copytree(CHECKOUT / name, self.source / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in PARTS:
            shutil.copy(CHECKOUT / name, self.source / name)
        self.daemons: list[Daemon] = []

    def start(self) -> None:
        holder = self._daemon(
            "mounts",
            "unshare",
            "--mount",
            "sh",
            "-c",
            MOUNTS,
            "sh",
            str(self.folder / "vps"),
            str(self.source),
        )
        ready = [
            "nsenter",
            f"--target={holder.process.pid}",
            "--mount",
            "test",
            "-e",
            str(self.folder / "vps" / "ready"),
        ]
        holder.wait_until(
            lambda: subprocess.run(ready, check=False, stderr=subprocess.DEVNULL).returncode == 0
        )
        self._inside = ["nsenter", f"--target={holder.process.pid}", "--mount", "--"]

    def stop(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.stop()

    def run(self, *command: str, given: str = "", user: str = "") -> subprocess.CompletedProcess[str]:
        """There, as root or as another user."""
        as_user = ["setpriv", f"--reuid={user}", "--regid=remoteweb", "--clear-groups"] if user else []
        return subprocess.run(
            [*self._inside, "chroot", str(self.root), *as_user, *command],
            input=given,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={"PATH": SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8"},
        )

    def did(self, *command: str, given: str = "", user: str = "") -> str:
        done = self.run(*command, given=given, user=user)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def unit(self, name: str) -> Daemon:
        """The service, started as its unit file says."""
        cage = [sys.executable, str(HERE / "cage.py"), str(self.root), name]
        return self._daemon(name, *self._inside, *cage)

    def caddy(self) -> Daemon:
        """As Debian's unit starts it, in a network of its own in which only loopback is, with two addresses."""
        inside = (
            "ip link set lo up; ip address add 10.98.0.1/24 dev lo; ip address add 10.98.0.7/24 dev lo; "
            "echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start; "
            f"exec chroot {self.root} setpriv --reuid=caddy --regid=caddy --clear-groups "
            "env HOME=/var/lib/caddy caddy run --environ --config /etc/caddy/Caddyfile"
        )
        return self._daemon("caddy", *self._inside, "unshare", "--net", "sh", "-c", inside)

    def _daemon(self, name: str, *command: str) -> Daemon:
        self.daemons.append(Daemon(*command, log=self.folder / f"{name}.log"))
        return self.daemons[-1]
