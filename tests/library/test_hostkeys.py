"""Which lines of a known_hosts file count; the file's own tools are the judges."""

import subprocess
from pathlib import Path

import pytest
from cluster.sshd import make_key

from remotejobs.errors import HostKeyChanged, HostKeyUnknown
from remotejobs.hostkeys import AcceptedKeys, HostKey, host_key_name, remember

MINE = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(32))
OTHER = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(range(32)))
RSA = HostKey("ssh-rsa", b"\0\0\0\x07ssh-rsa" + bytes(200))


def verdict(name: str, *lines: str, key: HostKey = MINE) -> str:
    try:
        AcceptedKeys(name, [], lines).check(key, name, "how")
    except HostKeyUnknown:
        return "unknown"
    except HostKeyChanged as error:
        return "revoked" if "revoked" in str(error) else "changed"
    return "accepted"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "unknown"),
        ([MINE.line("alps")], "accepted"),
        ([MINE.line("alps") + " a comment of several words"], "accepted"),
        ([MINE.line("ALPS")], "accepted"),
        ([MINE.line("first,alps,10.0.0.1")], "accepted"),
        ([MINE.line("al*")], "accepted"),
        ([MINE.line("alp?")], "accepted"),
        ([MINE.line("*,!alps")], "unknown"),
        ([MINE.line("alps.example.org")], "unknown"),
        ([MINE.line("[alps]:2222")], "unknown"),
        ([OTHER.line("alps")], "changed"),
        ([RSA.line("alps")], "changed"),
        # One name for several login nodes: each key was accepted by a person.
        ([OTHER.line("alps"), MINE.line("alps"), RSA.line("alps")], "accepted"),
        (["@revoked " + MINE.line("alps"), MINE.line("alps")], "revoked"),
        (["@revoked " + MINE.line("*")], "revoked"),
        (["@revoked " + OTHER.line("alps")], "unknown"),
        (["@cert-authority " + MINE.line("alps")], "unknown"),
        # What cannot be read spoils nothing else.
        (
            ["alps ssh-ed25519 !!!!", "three words bad=base64", "\0\xff", "@", "|1|x", MINE.line("alps")],
            "accepted",
        ),
        (["alps ssh-ed25519 AAAA", f"alps ssh-rsa {MINE.line('').split()[1]}"], "unknown"),
        (["|1|bad|hash " + MINE.line("")[1:], MINE.line("alps")], "accepted"),
        (["# " + MINE.line("alps")], "unknown"),
    ],
)
def test_a_key_is_accepted_only_by_a_line_that_a_person_made(lines: list[str], expected: str) -> None:
    assert verdict("alps", *lines) == expected


def test_a_port_of_its_own_has_a_key_of_its_own() -> None:
    name = host_key_name("Alps", 2222)
    assert name == "[alps]:2222"
    assert verdict(name, MINE.line("alps")) == "unknown"
    assert verdict(name, MINE.line("[alps]:2222")) == "accepted"
    assert verdict(name, MINE.line("[al*]:2222")) == "accepted"


def test_a_file_hashed_by_ssh_keygen_is_read(tmp_path: Path) -> None:
    public = make_key(tmp_path / "key").with_suffix(".pub").read_text().split()
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[alps]:2222 {public[0]} {public[1]}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(known_hosts)], check=True, capture_output=True)
    assert "alps" not in known_hosts.read_text()
    with pytest.raises(HostKeyChanged) as changed:
        AcceptedKeys("[alps]:2222", [known_hosts], []).check(MINE, "alps", "how")
    shown = subprocess.run(
        ["ssh-keygen", "-lf", f"{tmp_path}/key.pub"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split()[1] in str(changed.value)


def test_a_key_is_remembered_in_a_file_that_others_may_not_write(tmp_path: Path) -> None:
    path = tmp_path / ".ssh" / "known_hosts"
    remember(path, MINE.line("alps"))
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    path.write_text("no end of line")
    remember(path, MINE.line("alps"))
    remember(path, OTHER.line("jura"))
    assert path.read_text() == f"no end of line\n{MINE.line('alps')}\n{OTHER.line('jura')}\n"
