"""Whom SSHShell trusts, on a real sshd."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster.sshd import Sshd, make_key

from remotejobs.destination import Destination
from remotejobs.errors import HostKeyChanged, HostKeyUnknown, Unreachable
from remotejobs.shell import SSHShell

Connect = Callable[..., SSHShell]


def fingerprint(sshd: Sshd) -> str:
    """As OpenSSH says it."""
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(sshd.folder / "host_key.pub")], capture_output=True, text=True, check=True
    )
    return shown.stdout.split()[1]


def another_key(tmp_path: Path, kind: str = "ed25519") -> str:
    return " ".join(
        make_key(tmp_path / f"host_{kind}", kind=kind).with_suffix(".pub").read_text().split()[:2]
    )


def test_an_unknown_server_is_refused_with_its_fingerprint_and_what_to_do(
    sshd: Sshd, ssh_to: Connect
) -> None:
    with sshd.counting() as counted, pytest.raises(HostKeyUnknown) as unknown:
        ssh_to(keys=[sshd.key], known_hosts=[]).run("true")
    assert unknown.value.key_type == "ssh-ed25519"
    assert unknown.value.fingerprint == fingerprint(sshd)
    assert fingerprint(sshd) in str(unknown.value)
    assert f"ssh -p {sshd.port} {sshd.user}@{sshd.host}" in str(unknown.value)
    # Nothing about the user was sent: a second look at the same server would not count as a failed login.
    assert counted.connections == 1
    assert sshd.user not in sshd.log.read_text().splitlines()[-1]


def test_a_person_accepts_a_key_once_and_it_is_known_from_then_on(
    sshd: Sshd, ssh_to: Connect, ssh_folder: Path
) -> None:
    asked: list[HostKeyUnknown] = []

    def accept(unknown: HostKeyUnknown) -> bool:
        asked.append(unknown)
        return True

    options = {"keys": [sshd.key], "known_hosts": None, "accept_host_key": accept}
    assert ssh_to(**options).run("true").status == 0
    assert ssh_to(**options).run("true").status == 0
    assert [unknown.fingerprint for unknown in asked] == [fingerprint(sshd)]
    assert (ssh_folder / "known_hosts").read_text() == f"[{sshd.host}]:{sshd.port} {sshd.host_key}\n"
    trusting = ["ssh", "-F", "none", "-oBatchMode=yes", f"-oUserKnownHostsFile={ssh_folder / 'known_hosts'}"]
    own = [*trusting, "-i", str(sshd.key), "-p", str(sshd.port), f"{sshd.user}@{sshd.host}", "true"]
    assert subprocess.run(own, check=False, timeout=20).returncode == 0  # OpenSSH reads it alike


def test_a_person_may_say_no(sshd: Sshd, ssh_to: Connect, ssh_folder: Path) -> None:
    with pytest.raises(HostKeyUnknown, match="Compare the fingerprint"):
        ssh_to(keys=[sshd.key], known_hosts=None, accept_host_key=lambda _: False).run("true")
    assert list(ssh_folder.iterdir()) == []


def test_a_changed_key_is_refused_loudly_and_nobody_is_asked(
    sshd: Sshd, ssh_to: Connect, tmp_path: Path
) -> None:
    known_hosts = tmp_path / "known_hosts"
    before = f"[{sshd.host}]:{sshd.port} {another_key(tmp_path)}\n"
    known_hosts.write_text(before)
    shell = ssh_to(keys=[sshd.key], known_hosts=[known_hosts], accept_host_key=lambda _: True)
    with pytest.raises(HostKeyChanged, match="HAS CHANGED") as changed:
        shell.run("true")
    assert fingerprint(sshd) in str(changed.value)
    assert known_hosts.read_text() == before
    assert shell.execs == 0


def test_a_revoked_key_is_refused_although_it_was_accepted(
    sshd: Sshd, ssh_to: Connect, tmp_path: Path
) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"@revoked * {sshd.host_key}\n{sshd.known_hosts.read_text()}")
    with pytest.raises(HostKeyChanged, match="revoked"):
        ssh_to(keys=[sshd.key], known_hosts=[known_hosts]).run("true")


def test_lines_that_cannot_be_read_spoil_nothing(sshd: Sshd, ssh_to: Connect, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    rubbish = b"three bad words\n@revoked other ssh-rsa AAAA\n\xff\xfe\0\nx ssh-ed25519 !!!\n"
    known_hosts.write_bytes(rubbish + sshd.known_hosts.read_bytes())
    assert ssh_to(keys=[sshd.key], known_hosts=[known_hosts]).run("true").status == 0


def test_one_name_may_have_several_accepted_keys_from_several_places(
    sshd: Sshd, ssh_to: Connect, tmp_path: Path
) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[{sshd.host}]:{sshd.port} {another_key(tmp_path)}\n")
    extra = sshd.known_hosts.read_text().splitlines()
    assert ssh_to(keys=[sshd.key], known_hosts=[known_hosts], extra_host_keys=extra).run("true").status == 0


def test_a_server_with_several_keys_is_asked_for_the_one_that_is_known(
    parts_folder: Path, tmp_path: Path
) -> None:
    rsa = make_key(tmp_path / "host_rsa", kind="rsa")
    server = Sshd(parts_folder / "sshd-two-keys", f"HostKey {rsa}\n")
    try:
        server.start()
        line = f"[{server.host}]:{server.port} " + " ".join(rsa.with_suffix(".pub").read_text().split()[:2])
        destination = Destination.parse(server.destination)
        with SSHShell(destination, keys=[server.key], known_hosts=[], extra_host_keys=[line]) as shell:
            assert shell.run("true").status == 0
    finally:
        server.stop()


@pytest.mark.parametrize("option", ["Ciphers aes128-cbc,3des-cbc", "MACs hmac-sha1"])
def test_a_server_that_speaks_only_weak_ciphers_is_refused(option: str, parts_folder: Path) -> None:
    # AES-GCM brings its own check: only without it do the MACs matter.
    strict = option if option.startswith("C") else f"Ciphers aes128-ctr\n{option}"
    server = Sshd(parts_folder / f"sshd-{option[:3]}", strict + "\n")
    try:
        server.start()
        shell = SSHShell(Destination.parse(server.destination), known_hosts=[server.known_hosts])
        with shell, pytest.raises(Unreachable, match="no SSH that we can use"):
            shell.run("true")
    finally:
        server.stop()


def test_the_stronger_of_what_both_sides_speak_is_taken(sshd: Sshd, ssh_to: Connect) -> None:
    shell = ssh_to(keys=[sshd.key])
    shell.run("true")
    assert shell._link is not None
    transport = shell._link.transport
    assert transport is not None
    assert transport.remote_mac.endswith("-etm@openssh.com")
    assert transport.agreed_on_strict_kex  # the server cannot be cut off from the start of what it says
