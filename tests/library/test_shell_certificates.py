"""OpenSSH user certificates, made by ssh-keygen, on a real sshd that trusts their authority."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.sshd import Sshd, make_key

from remotejobs import Destination, Target
from remotejobs.errors import LoginRefused
from remotejobs.shell import SSHShell


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(scope="module")
def trusting(parts_folder: Path, authority: Path, sshd: Sshd) -> Iterator[Sshd]:
    server = Sshd(parts_folder / "sshd-certificates", f"TrustedUserCAKeys {authority.with_suffix('.pub')}\n")
    try:
        server.start()
        yield server
    finally:
        server.stop()


def certify(authority: Path, key: Path, user: str, validity: str = "-5m:+5m") -> Path:
    """KEY-cert.pub, for `user` alone."""
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", user, "-V", validity]
    subprocess.run([*sign, f"{key}.pub"], check=True, timeout=20)
    return key.with_name(f"{key.name}-cert.pub")


def login(server: Sshd, keys: list[Path], certificates: tuple[Path, ...] = (), **options: object) -> SSHShell:
    target = Target(server.host, server.port, server.user, tuple(keys), certificates)
    options = {"allow_agent": False, "known_hosts": [server.known_hosts]} | options
    return SSHShell(target, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_certificate_beside_the_key_lets_us_in(
    trusting: Sshd, authority: Path, tmp_path: Path, kind: str
) -> None:
    key = make_key(tmp_path / "key", kind=kind)
    with pytest.raises(LoginRefused):
        login(trusting, [key]).run("true")
    certify(authority, key, trusting.user)
    with login(trusting, [key]) as shell:
        assert shell.run("true").status == 0


def test_a_certificate_elsewhere_is_named_by_the_alias(
    trusting: Sshd, authority: Path, tmp_path: Path, ssh_folder: Path
) -> None:
    key, other = make_key(tmp_path / "key"), make_key(tmp_path / "other")
    moved = shutil.move(certify(authority, key, trusting.user), tmp_path / "today.pub")
    foreign = certify(authority, other, trusting.user)
    (ssh_folder / "config").write_text(
        f"Host alps\n HostName {trusting.host}\n Port {trusting.port}\n User {trusting.user}\n"
        f" IdentityFile {key}\n CertificateFile {moved}\n"
    )
    with SSHShell(Destination("alps"), known_hosts=[trusting.known_hosts], allow_agent=False) as shell:
        assert shell.run("true").status == 0
    with pytest.raises(LoginRefused) as refused:
        login(trusting, [key], (foreign,)).run("true")
    assert "with the certificate" not in str(
        refused.value
    )  # that of another key is not offered with this one


def test_a_key_that_the_server_knows_itself_counts_also_beside_a_certificate_that_it_does_not(
    trusting: Sshd, tmp_path: Path
) -> None:
    key = Path(shutil.copy(trusting.key, tmp_path / "key"))
    shutil.copy(trusting.key.with_suffix(".pub"), tmp_path / "key.pub")
    certify(make_key(tmp_path / "another-authority"), key, trusting.user)
    with login(trusting, [key]) as shell:
        assert shell.run("true").status == 0


@pytest.mark.parametrize(
    ("validity", "says"),
    [
        ("20200101:20200102", r"-cert.pub ended at 2020-01-0\d .* UTC: get a new one"),
        ("+1d:+2d", "is valid only from"),
    ],
)
def test_a_certificate_out_of_its_time_is_named_and_not_offered(
    trusting: Sshd, authority: Path, tmp_path: Path, validity: str, says: str
) -> None:
    key = make_key(tmp_path / "key")
    certify(authority, key, trusting.user, validity)
    with pytest.raises(LoginRefused, match=says):
        login(trusting, [key]).run("true")


def test_a_certificate_for_somebody_else_is_refused_by_name(
    trusting: Sshd, authority: Path, tmp_path: Path
) -> None:
    key = make_key(tmp_path / "key")
    certificate = certify(authority, key, "somebody-else")
    with pytest.raises(LoginRefused, match=f"with the certificate {certificate}"):
        login(trusting, [key]).run("true")


@pytest.mark.parametrize(
    "text", ["", "ssh-ed25519 AAAA x\n", "ssh-ed25519-cert-v01@openssh.com AAAA\n", "\0\xff\n"]
)
def test_what_is_no_certificate_is_said_so_and_spoils_nothing(
    trusting: Sshd, tmp_path: Path, text: str
) -> None:
    key = Path(shutil.copy(trusting.key, tmp_path / "key"))
    (tmp_path / "key-cert.pub").write_text(text)
    with login(trusting, [key]) as shell:
        assert shell.run("true").status == 0
    stranger = make_key(tmp_path / "stranger")
    (tmp_path / "stranger-cert.pub").write_text(text)
    with pytest.raises(LoginRefused, match="cannot be read as a certificate"):
        login(trusting, [stranger]).run("true")


def test_a_locked_key_and_one_in_the_agent_use_their_certificates_too(
    trusting: Sshd, authority: Path, tmp_path: Path, ssh_agent: Path
) -> None:
    key = make_key(tmp_path / "key", "correct horse")
    certificate = certify(authority, key, trusting.user)
    with login(trusting, [key], passphrase="correct horse") as shell:
        assert shell.run("true").status == 0
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "correct horse", "-N", "", "-f", str(key)], check=True)
    # Without its file the agent alone has it; ssh-add takes the certificate along, or it is named.
    subprocess.run(["ssh-add", "-q", str(key)], check=True)
    with login(trusting, [], allow_agent=True, look_for_keys=False) as shell:
        assert shell.run("true").status == 0
    subprocess.run(["ssh-add", "-q", "-D"], check=True, stderr=subprocess.DEVNULL)
    named = shutil.move(certificate, tmp_path / "today.pub")
    subprocess.run(["ssh-add", "-q", str(key)], check=True)
    with login(trusting, [], (named,), allow_agent=True, look_for_keys=False) as shell:
        assert shell.run("true").status == 0
