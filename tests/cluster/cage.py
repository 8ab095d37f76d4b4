"""Runs a service as its unit file says, on a machine where no systemd does: `python cage.py ROOT UNIT`.

In ROOT, an installed system: as its user and group, with its settings, credentials, folders and the socket of its .socket
unit; and behind those of its walls that a process can put up for itself: no new privileges, no capabilities, a network
namespace with nothing in it, no memory that is both written and executed, and the filter of system calls.
"""

import contextlib
import ctypes
import grp
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

UNITS = Path("/etc/systemd/system")
CLONE_NEWNET = 0x40000000
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_MDWE, PR_SET_PDEATHSIG = 38, 24, 65, 1
SCMP_ACT_ALLOW, SCMP_ACT_ERRNO_EPERM = 0x7FFF0000, 0x00050001
LISTEN_FD = 3

libc = ctypes.CDLL(None, use_errno=True)


class Unit:
    """The lines of a unit file: each name with all its values, in order."""

    def __init__(self, path: Path) -> None:
        lines = [line.strip() for line in path.read_text().splitlines()]
        pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith(("#", "["))]
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def one(self, name: str) -> str:
        return self.all(name)[-1] if name in self._values else ""

    def is_on(self, name: str) -> bool:
        return self.one(name) == "yes"


def prctl(option: int, *values: int) -> None:
    if libc.prctl(option, *values, *([0] * (4 - len(values)))) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def given_socket(path: Path) -> None:
    """The socket of the .socket unit, as descriptor 3."""
    unit = Unit(path)
    place = unit.one("ListenStream")
    Path(place).unlink(missing_ok=True)
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    one.bind(place)
    shutil.chown(place, unit.one("SocketUser"), unit.one("SocketGroup"))
    Path(place).chmod(int(unit.one("SocketMode"), 8))
    one.listen(64)
    number = one.detach()
    if number != LISTEN_FD:
        os.dup2(number, LISTEN_FD)
        os.close(number)
    os.set_inheritable(LISTEN_FD, True)


def environment(unit: Unit, credentials: Path) -> dict[str, str]:
    made = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "USER": unit.one("User")}
    made["HOME"] = pwd.getpwnam(unit.one("User")).pw_dir
    if unit.all("LoadCredential") or unit.all("LoadCredentialEncrypted"):
        made["CREDENTIALS_DIRECTORY"] = str(credentials)
    lines = [line.replace("%d", str(credentials)) for line in unit.all("Environment")]
    for file in unit.all("EnvironmentFile"):
        lines += [line for line in Path(file).read_text().splitlines() if line and not line.startswith("#")]
    return made | dict(line.split("=", 1) for line in lines)


def made_folders(unit: Unit, name: str, user: int, group: int) -> Path:
    for kind, base in (("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run")):
        for folder in unit.one(kind).split():
            path = Path(base, folder)
            path.mkdir(exist_ok=True)
            os.chown(path, user, group)
            path.chmod(int(unit.one(f"{kind}Mode"), 8))
    return given_credentials(unit, Path("/run/credentials", name), user, group)


def given_credentials(unit: Unit, folder: Path, user: int, group: int) -> Path:
    """Files, the files of a folder, and what systemd-creds has encrypted for this machine."""
    found: dict[str, bytes] = {}
    for line in unit.all("LoadCredential"):
        name, _, source = line.partition(":")
        place = Path(source)
        files = {f"{name}_{file.name}": file for file in place.iterdir()} if place.is_dir() else {name: place}
        found |= {known_as: file.read_bytes() for known_as, file in files.items()}
    for line in unit.all("LoadCredentialEncrypted"):
        name, _, source = line.partition(":")
        decrypt = ["systemd-creds", "decrypt", f"--name={name}", source, "-"]
        found[name] = subprocess.run(decrypt, capture_output=True, check=True).stdout
    shutil.rmtree(folder, ignore_errors=True)
    if not found:
        return folder
    folder.mkdir(parents=True)
    for name, content in found.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o400)
        os.chown(folder / name, user, group)
    folder.chmod(0o500)
    os.chown(folder, user, group)
    return folder


def allowed_calls(unit: Unit) -> set[str]:
    """The names that the lines SystemCallFilter= leave."""
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter"], capture_output=True, text=True, check=True
    ).stdout
    sets: dict[str, list[str]] = {}
    for line in listed.splitlines():
        if line.startswith("@"):
            current = sets.setdefault(line.strip(), [])
        elif re.match(r"\s+[@a-z]", line):
            current.append(line.strip())

    def whole(word: str) -> set[str]:
        return set().union(*map(whole, sets[word])) if word.startswith("@") else {word}

    allowed: set[str] = set()
    for line in unit.all("SystemCallFilter"):
        calls = set().union(*map(whole, line.removeprefix("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def filter_calls(allowed: set[str]) -> None:
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(SCMP_ACT_ERRNO_EPERM))
    for name in allowed:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            seccomp.seccomp_rule_add(context, SCMP_ACT_ALLOW, number, 0)
    if seccomp.seccomp_load(context) != 0:
        raise OSError("the filter of system calls was not taken")


def main(root: str, name: str) -> None:
    unit_file = Path(root + str(UNITS / name))
    unit = Unit(unit_file)
    allowed = allowed_calls(unit)
    prctl(PR_SET_PDEATHSIG, 15)
    ctypes.CDLL("libseccomp.so.2")  # loaded before the root changes
    if unit.is_on("PrivateNetwork") and libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    os.chroot(root)
    os.chdir("/")
    user, group = pwd.getpwnam(unit.one("User")).pw_uid, grp.getgrnam(unit.one("Group")).gr_gid
    credentials = made_folders(unit, name, user, group)
    variables = environment(unit, credentials)
    socket_unit = UNITS / name.replace(".service", ".socket")
    if socket_unit.exists():
        given_socket(socket_unit)
        variables |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    os.umask(int(unit.one("UMask"), 8))
    for capability in range(41):
        prctl(PR_CAPBSET_DROP, capability)
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    prctl(PR_SET_PDEATHSIG, 15)  # forgotten with the change of the user
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if unit.is_on("MemoryDenyWriteExecute"):
        with contextlib.suppress(OSError):  # a kernel before 6.3 does not know it
            prctl(PR_SET_MDWE, 1)
    filter_calls(allowed)
    words = unit.one("ExecStart").split()
    os.execve(words[0], words, variables)  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
