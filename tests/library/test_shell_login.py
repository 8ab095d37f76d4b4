"""How SSHShell is let in, on a real sshd; and what it says when it is not."""

import shutil
import socket
import subprocess
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from cluster.sshd import Account, Sshd, make_key

from remotejobs.destination import Destination
from remotejobs.errors import KeyLocked, LoginError, LoginRefused
from remotejobs.shell import SSHShell

Connect = Callable[..., SSHShell]
SECRET = "correct horse"


def whoami(shell: SSHShell) -> str:
    with shell.run("id -un") as output:
        assert output.status == 0
        return output.stdout.read().decode().strip()


def locked_key(sshd: Sshd, account: Account, folder: Path) -> Path:
    """A key with a passphrase, which `account` lets in."""
    key = make_key(folder / "locked", SECRET)
    with (account.home / ".ssh" / "authorized_keys").open("a") as file:
        file.write(key.with_suffix(".pub").read_text())
    return key


@pytest.fixture(scope="module")
def account(sshd: Sshd) -> Account:
    return sshd.account()


def test_a_named_key_lets_us_in(sshd: Sshd, ssh_to: Connect) -> None:
    assert whoami(ssh_to(keys=[sshd.key])) == sshd.user


def test_a_password_lets_us_in(sshd: Sshd, ssh_to: Connect) -> None:
    assert whoami(ssh_to(password=sshd.password)) == sshd.user


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_key_in_the_home_is_found(kind: str, account: Account, ssh_to: Connect, ssh_folder: Path) -> None:
    key = make_key(ssh_folder / f"id_{kind}", kind=kind)
    with (account.home / ".ssh" / "authorized_keys").open("a") as file:
        file.write(key.with_suffix(".pub").read_text())
    assert whoami(ssh_to(account)) == account.user


def test_an_agent_lets_us_in(sshd: Sshd, ssh_to: Connect, ssh_agent: Path) -> None:
    subprocess.run(["ssh-add", "-q", str(sshd.key)], check=True)
    assert whoami(ssh_to()) == sshd.user
    with pytest.raises(LoginRefused):
        ssh_to(allow_agent=False).run("true")


def test_a_locked_key_opens_with_its_passphrase_or_through_the_agent(
    sshd: Sshd, account: Account, ssh_to: Connect, ssh_agent: Path, tmp_path: Path
) -> None:
    key = locked_key(sshd, account, tmp_path)
    with pytest.raises(KeyLocked, match=f"needs its passphrase: unlock it once with `ssh-add {key}`"):
        ssh_to(account, keys=[key]).run("true")
    with pytest.raises(KeyLocked, match="cannot be unlocked"):
        ssh_to(account, keys=[key], passphrase="wrong").run("true")
    assert whoami(ssh_to(account, keys=[key], passphrase=SECRET)) == account.user
    open_key = shutil.copy(key, tmp_path / "open")
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", SECRET, "-N", "", "-f", open_key], check=True)
    subprocess.run(["ssh-add", "-q", open_key], check=True)
    assert whoami(ssh_to(account, keys=[key])) == account.user


def test_a_dead_agent_is_named_and_does_not_hang(
    sshd: Sshd, ssh_to: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remotejobs.agent.AGENT_SECONDS", 0.5)
    path = tmp_path / "a"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        with pytest.raises(LoginRefused, match="agent at SSH_AUTH_SOCK does not answer"):
            ssh_to().run("true")
        assert whoami(ssh_to(password=sshd.password)) == sshd.user


def test_a_password_still_has_its_turn_after_an_agent_with_many_keys(
    sshd: Sshd, ssh_to: Connect, ssh_agent: Path, tmp_path: Path
) -> None:
    for number in range(8):  # sshd hangs up after six tries
        subprocess.run(["ssh-add", "-q", str(make_key(tmp_path / f"key{number}"))], check=True)
    assert whoami(ssh_to(password=sshd.password)) == sshd.user


def alias(ssh_folder: Path, text: str) -> Path:
    config = ssh_folder / "config"
    config.write_text(text)
    return config


def test_an_alias_of_ssh_config_gives_host_port_user_and_key(sshd: Sshd, ssh_folder: Path) -> None:
    alias(
        ssh_folder,
        f"Host alps\n HostName {sshd.host}\n Port {sshd.port}\n User {sshd.user}\n IdentityFile {sshd.key}\n",
    )
    with SSHShell(Destination.parse("alps"), known_hosts=[sshd.known_hosts]) as shell:
        assert whoami(shell) == sshd.user


def test_what_a_person_writes_goes_before_the_alias(sshd: Sshd, account: Account, ssh_folder: Path) -> None:
    alias(ssh_folder, f"Host alps\n HostName {sshd.host}\n Port 1\n User nobody\n IdentityFile {sshd.key}\n")
    destination = Destination.parse(f"{account.user}@alps:{sshd.port}")
    with SSHShell(destination, known_hosts=[sshd.known_hosts]) as shell:
        assert whoami(shell) == account.user


def test_identities_only_offers_no_other_key_of_the_agent(
    sshd: Sshd, account: Account, ssh_folder: Path, ssh_agent: Path, tmp_path: Path
) -> None:
    for number in range(6):
        subprocess.run(["ssh-add", "-q", str(make_key(tmp_path / f"key{number}"))], check=True)
    key = locked_key(sshd, account, tmp_path)
    alias(ssh_folder, f"Host {sshd.host}\n IdentitiesOnly yes\n IdentityFile {key}\n")
    destination = Destination(sshd.host, sshd.port, account.user)
    with SSHShell(destination, known_hosts=[sshd.known_hosts]) as shell:
        with pytest.raises(LoginRefused) as refused:
            shell.run("true")
        assert "of the agent" not in str(refused.value)
        open_key = shutil.copy(key, tmp_path / "open")
        subprocess.run(["ssh-keygen", "-q", "-p", "-P", SECRET, "-N", "", "-f", open_key], check=True)
        subprocess.run(["ssh-add", "-q", open_key], check=True)
        assert whoami(shell) == account.user


@pytest.mark.parametrize(
    "line",
    [
        "Match exec {touch}",
        "match  EXEC {touch}",
        'Match host x !ex"e"c {touch}',
        "Match=exec {touch}",
        "Match exec 'x",
    ],
)
def test_a_match_exec_is_never_run_and_gets_a_sentence(
    line: str, sshd: Sshd, ssh_folder: Path, tmp_path: Path
) -> None:
    touch = f'"touch {tmp_path}/PWNED"'
    alias(ssh_folder, f"Host other\n User x\n{line.format(touch=touch)}\n User y\n")
    with pytest.raises(LoginError, match=r"Line 3 of .*Match exec"):
        SSHShell(Destination.parse(sshd.destination)).run("true")
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Host alps\n ProxyCommand touch {0}/PWNED\n", "proxycommand, which runs a command"),
        ("Host alps\n HostName x;touch\n", "is not a server"),
        ("Host alps\n Port many\n", "cannot be used"),
        ("Host alps\n User -oProxyCommand=x\n", "user name"),
        ("Host alps\nthis-is-no-line\n", "cannot be read"),
        ("Match\n", "cannot be read"),
    ],
)
def test_what_an_alias_may_not_say_gets_a_sentence(
    text: str, says: str, ssh_folder: Path, tmp_path: Path
) -> None:
    alias(ssh_folder, text.format(tmp_path))
    with pytest.raises(LoginError, match=says):
        SSHShell(Destination.parse("alps")).run("true")
    assert not (tmp_path / "PWNED").exists()


def test_proxy_none_and_include_are_passed_by(sshd: Sshd, ssh_to: Connect, ssh_folder: Path) -> None:
    alias(ssh_folder, "Include other\nHost *\n ProxyJump none\n ProxyCommand none\n ControlMaster auto\n")
    assert whoami(ssh_to(keys=[sshd.key])) == sshd.user


def test_a_shell_that_is_told_so_reads_no_ssh_config(sshd: Sshd, ssh_to: Connect, ssh_folder: Path) -> None:
    alias(ssh_folder, "Host *\n Port 1\n User nobody\n ProxyJump gate\n")
    assert whoami(ssh_to(keys=[sshd.key], config=False)) == sshd.user


def test_fabrics_own_files_are_not_run(sshd: Sshd, ssh_to: Connect, home: Path) -> None:
    (home / ".fabric.py").write_text(f"open({str(home / 'PWNED')!r}, 'w')\n")
    assert whoami(ssh_to(keys=[sshd.key])) == sshd.user
    assert not (home / "PWNED").exists()


def test_a_refused_login_says_what_was_tried_and_leaves_nothing(
    sshd: Sshd, ssh_to: Connect, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stranger = make_key(tmp_path / "stranger")
    process = psutil.Process()
    sockets, threads = len(process.net_connections()), threading.active_count()
    shell = ssh_to(keys=[stranger, tmp_path / "missing"], password=SECRET)
    with pytest.raises(LoginRefused) as refused:
        shell.run("true")
    sentence = str(refused.value)
    for words in ("127.0.0.1", sshd.user, str(stranger), "missing", "the password", f"ssh -p {sshd.port}"):
        assert words in sentence
    assert (len(process.net_connections()), threading.active_count()) == (sockets, threads)
    assert capfd.readouterr() == ("", "")  # nobody was asked, and no library talked
    assert shell.connections == 1
    assert shell.execs == 0


def test_secrets_are_in_no_message_and_no_representation(
    ssh_to: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    shell = ssh_to(password=SECRET, passphrase="other " + SECRET)
    with pytest.raises(LoginRefused) as refused:
        shell.run("true")
    shown = "".join(traceback.format_exception(refused.value)) + repr(shell) + str(shell) + caplog.text
    assert SECRET not in shown


@pytest.mark.parametrize(
    "methods", ["keyboard-interactive", "publickey,keyboard-interactive", "publickey,password"]
)
def test_a_password_answers_a_server_that_asks_by_pam_or_wants_two_steps(
    methods: str, parts_folder: Path
) -> None:
    own_word = "yes" if methods.endswith("password") else "no"
    options = f"UsePAM yes\nPasswordAuthentication {own_word}\nKbdInteractiveAuthentication yes\n"
    server = Sshd(parts_folder / f"sshd-{methods}", options + f"AuthenticationMethods {methods}\n")
    try:
        server.start()
        destination = Destination.parse(server.destination)
        keys = [server.key] if "publickey" in methods else []
        options_of = {"known_hosts": [server.known_hosts], "keys": keys}
        with SSHShell(destination, password=server.password, **options_of) as shell:
            assert whoami(shell) == server.user
        with SSHShell(destination, password=SECRET, **options_of) as shell, pytest.raises(LoginRefused):
            shell.run("true")
        with SSHShell(destination, **options_of) as shell, pytest.raises(LoginRefused):
            shell.run("true")
    finally:
        server.stop()
