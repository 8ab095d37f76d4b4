"""`remotejobs install-gate`: the gate lies there as it was sent, its line in authorized_keys, and all else in that file stays."""

import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cluster.parts import need
from cluster.sshd import Account, Sshd, make_key
from library.machines import APP, Elsewhere, over_ssh
from library.narrow import Narrow, narrow_account, narrow_shell
from library.registries import Folder, key_of

from remotejobs import BadInput, LoginRefused, RemoteJobSubmitter, ServerProblem, authorized, gate
from remotejobs.authorized import PublicKey
from remotejobs.command import main
from remotejobs.errors import ActionRefused
from remotejobs.exchange import Request, SourceRequest, exchange
from remotejobs.shell import LocalShell


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="remotejobs")


@pytest.fixture
def account(sshd: Sshd, home: Path) -> Account:
    """One that the person's own key opens, and that may write its own ~/.ssh."""
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    shutil.copy(sshd.key, folder / "id_ed25519")
    shutil.copy(sshd.known_hosts, folder / "known_hosts")
    account = sshd.account()
    for path in (account.home / ".ssh", account.home / ".ssh" / "authorized_keys"):
        shutil.chown(path, account.user, account.user)
    return account


@pytest.fixture
def keys(account: Account) -> Path:
    return account.home / ".ssh" / "authorized_keys"


@pytest.fixture
def there(sshd: Sshd, account: Account) -> str:
    return f"{account.user}@{sshd.host}:{sshd.port}"


def test_a_key_is_made_and_its_line_printed_and_added_by_hand_it_works(
    sshd: Sshd, account: Account, keys: Path, there: str, home: Path
) -> None:
    before = keys.read_bytes()
    with sshd.counting() as counted:
        done = run("install-gate", there)
    assert done.exit_code == 0, done.stderr
    assert counted.connections == 1
    assert keys.read_bytes() == before, "without consent nothing is added"
    private = home / ".ssh" / f"remotejobs_{sshd.host}"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert subprocess.run(["ssh-keygen", "-lf", private], capture_output=True, check=True).stdout
    assert str(private) in done.stderr and "opens" not in done.stdout
    installed = account.home / ".remotejobs-gate" / "1" / "gate"
    assert (
        done.stdout
        == f'restrict,command="/bin/sh {installed}" {private.with_name(private.name + ".pub").read_text()}'
    )
    assert [stat.S_IMODE(path.stat().st_mode) for path in (installed, installed.parent)] == [0o500, 0o700]
    assert [path.name for path in installed.parent.iterdir()] == ["gate"]
    keys.write_bytes(before + done.stdout.encode())
    with narrow_shell(sshd, account.user, private) as shell:
        assert RemoteJobSubmitter(APP, shell=shell).settings.list_keys() == []


def test_written_with_consent_the_rest_of_the_file_stays_and_a_second_time_changes_nothing(
    account: Account, keys: Path, there: str, tmp_path: Path
) -> None:
    real = account.home / "dotfiles"
    before = (
        b"# mine\n\n"
        + keys.read_bytes()
        + b'from="*.example.org",no-pty ssh-rsa AAAA x \xff\n# the end, without its line end'
    )
    keys.rename(real)
    real.write_bytes(before)
    real.chmod(0o640)
    keys.symlink_to("../dotfiles")
    key = make_key(tmp_path / "narrow")
    assert (
        run(
            "install-gate", there, "--key", f"{key}.pub", "--write", "--from", "127.0.0.0/8", "--from", "::1"
        ).exit_code
        == 0
    )
    line = real.read_bytes().removeprefix(before + b"\n").decode()
    assert line.startswith('restrict,from="127.0.0.0/8,::1",command="/bin/sh ') and line.endswith(" test\n")
    assert keys.is_symlink() and stat.S_IMODE(real.stat().st_mode) == 0o640
    assert {path.name for path in keys.parent.iterdir()} == {"authorized_keys"}
    now = real.read_bytes()
    again = run(
        "install-gate", there, "--key", f"{key}.pub", "--write", "--from", "127.0.0.0/8", "--from", "::1"
    )
    assert "stands in ~/.ssh/authorized_keys there already" in again.stderr and real.read_bytes() == now
    assert run("install-gate", there, "--key", f"{key}.pub", "--write").exit_code == 0
    assert b'from="127' not in real.read_bytes() and real.read_bytes().count(b"remotejobs-gate") == 1

    other = make_key(tmp_path / "other")
    itself = other.with_suffix(".pub").read_text().strip()
    assert run("install-gate", there, "--key", itself, "--write").exit_code == 0
    assert itself.encode() in real.read_bytes()
    one = run("install-gate", there, "--remove", "--key", f"{key}.pub")
    assert "Removed 1 line " in one.stderr and "The gate stays" in one.stderr
    rest = run("install-gate", there, "--remove")
    assert "Removed 1 line " in rest.stderr and "The gate is gone" in rest.stderr
    assert real.read_bytes() == before + b"\n" and not (account.home / ".remotejobs-gate").exists()
    assert "no gate there" in run("install-gate", there, "--remove").stderr


def test_a_key_that_opens_a_shell_already_is_not_called_narrow(sshd: Sshd, keys: Path, there: str) -> None:
    before = keys.read_bytes()
    done = run("install-gate", there, "--key", f"{sshd.key}.pub", "--write")
    assert done.exit_code == 1 and "This key is not narrow" in done.stderr and "(line 1)" in done.stderr
    assert keys.read_bytes() == before


def test_a_key_that_is_bound_to_another_address_lets_nobody_in_from_here(
    sshd: Sshd, account: Account, there: str, tmp_path: Path
) -> None:
    key = make_key(tmp_path / "narrow")
    assert run("install-gate", there, "--key", f"{key}.pub", "--write", "--from", "192.0.2.7").exit_code == 0
    with narrow_shell(sshd, account.user, key) as shell, pytest.raises(LoginRefused):
        RemoteJobSubmitter(APP, shell=shell).settings.list_keys()


def test_a_file_that_somebody_changes_meanwhile_stays_as_it_is(
    sshd: Sshd, account: Account, keys: Path, tmp_path: Path
) -> None:
    key = PublicKey.read(make_key(tmp_path / "narrow").with_suffix(".pub"))
    with over_ssh(sshd, account.user) as shell:
        installed = gate.install(shell, key)
        changed = keys.read_bytes() + b"# another line\n"
        keys.write_bytes(changed)
        with pytest.raises(ServerProblem, match="changed by somebody else"):
            gate.write(shell, installed)
    assert keys.read_bytes() == changed and {path.name for path in keys.parent.iterdir()} == {
        "authorized_keys"
    }


def test_a_gate_is_never_laid_through_a_link(sshd: Sshd, account: Account, tmp_path: Path) -> None:
    (account.home / "elsewhere").mkdir(mode=0o777)
    (account.home / ".remotejobs-gate").symlink_to("elsewhere")
    key = PublicKey.read(make_key(tmp_path / "narrow").with_suffix(".pub"))
    with over_ssh(sshd, account.user) as shell, pytest.raises(ServerProblem, match="is a link"):
        gate.install(shell, key)
    assert not list((account.home / "elsewhere").iterdir())


@pytest.fixture(scope="module")
def narrow(sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Narrow]:
    yield from narrow_account(sshd, tmp_path_factory.mktemp("keys"))


def with_one_job(narrow: Narrow) -> None:
    """The registry of the account as if nothing had been done with it yet."""
    shutil.rmtree(narrow.account.home / f".{APP}", ignore_errors=True)
    folder = Folder.make(narrow.account.home)
    folder.ended(key_of(1))
    folder.owned_by(narrow.account.user)


@pytest.mark.parametrize("login_shell", ["dash", "tcsh", "fish"])
def test_it_answers_through_any_login_shell(sshd: Sshd, tmp_path: Path, login_shell: str) -> None:
    need(login_shell, login_shell)
    for narrow in narrow_account(sshd, tmp_path, shutil.which(login_shell) or ""):
        with_one_job(narrow)
        jobs = narrow.jobs()
        assert jobs.settings.list_keys() == [key_of(1)]
        assert jobs.read_log(key_of(1)[:32], 1).text == "said\n"


def test_a_variable_of_that_name_makes_no_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE", "1-00000000")
    answer = exchange(LocalShell(), Request([SourceRequest(APP)]))
    answer.close()
    assert answer.gate == ""


def test_what_the_key_is_not_for_is_a_sentence(narrow: Narrow, tmp_path: Path) -> None:
    with_one_job(narrow)
    before = sorted(narrow.account.home.rglob("*"))
    jobs = narrow.jobs()
    (tmp_path / "input").mkdir()
    plain = jobs.create_settings(None, None, "true", scheduler="process")
    for what in (
        lambda: jobs.submit_job(jobs.create_settings(None, None, "true")),
        lambda: jobs.submit_job(
            jobs.create_settings(str(tmp_path / "input"), "~/x", "true", scheduler="process")
        ),
        lambda: jobs.generate_id(plain),
        lambda: jobs.clean(),
        lambda: jobs.clean(dry_run=True),
        lambda: jobs.prune(1),
        lambda: gate.look(narrow.shell),
    ):
        with pytest.raises(
            ServerProblem, match=r"narrow key: .* nothing else\. For this, log in with another key"
        ):
            what()
    with pytest.raises(ActionRefused, match="narrow key"):
        jobs.submit_job(plain)
    assert not jobs.check_state(key_of(1)[:32], 1, clean=True)["cleaned"]
    assert sorted(narrow.account.home.rglob("*")) == before


def test_a_log_is_read_from_its_end_and_at_most_64_kib(narrow: Narrow) -> None:
    folder = Folder.make(narrow.account.home, "logs")
    folder.ended(key_of(1))
    folder.owned_by(narrow.account.user)
    stdout = folder.path / "runs" / key_of(1) / "stdout"
    stdout.write_bytes(b"cut " * 50_000 + b"\nfirst\r\n\x1b[31mred\x1b[0m\rlast \xe2\x80\xae\xff\0\n")
    jobs = narrow.jobs("logs")
    tail = jobs.read_log(key_of(1)[:32], 1)
    assert (len(tail.content), tail.size) == (65_536, stdout.stat().st_size)
    assert tail.text == "first\nred\nlast ���\n"
    assert jobs.read_log(key_of(1)[:32], 1, limit=3).content == stdout.read_bytes()[-3:]
    with pytest.raises(ServerProblem, match="has no stderr in its run folder"):
        jobs.read_log(key_of(1)[:32], 1, stderr=True)
    with pytest.raises(ServerProblem, match="There is no job"):
        jobs.read_log(key_of(2)[:32], 1)
    shutil.rmtree(stdout.parent)
    with pytest.raises(ServerProblem, match="it was cleaned"):
        jobs.read_log(key_of(1)[:32], 1)


def installed_gate(narrow: Narrow, *changes: tuple[str, str]) -> None:
    """The gate as another version of this program would have left it."""
    path = Path(narrow.installed.account.path)
    text = gate.text(narrow.installed.account)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def test_an_older_gate_of_the_same_protocol_is_used(narrow: Narrow) -> None:
    with_one_job(narrow)
    installed_gate(narrow, (gate.build(), "1-00000000"), ("|log)$/ {", ")$/ {"))
    jobs = narrow.jobs()
    assert jobs.settings.list_keys() == [key_of(1)]
    with pytest.raises(ServerProblem, match=r"cannot read logs yet\. Renew it: remotejobs install-gate"):
        jobs.read_log(key_of(1)[:32], 1)


@pytest.mark.parametrize(
    ("protocol", "sentence"),
    [("0", r"too old .* Renew it, .* remotejobs install-gate"), ("2", "Upgrade this one")],
)
def test_a_gate_of_another_protocol_is_refused_with_the_command_that_renews_it(
    narrow: Narrow, protocol: str, sentence: str
) -> None:
    with_one_job(narrow)
    installed_gate(narrow, (" PROBE=1 ", f" PROBE={protocol} "))
    with pytest.raises(ServerProblem, match=sentence):
        narrow.jobs().settings.list_keys()
    gate.install(narrow.full, narrow.installed.key)
    assert narrow.jobs().settings.list_keys() == [key_of(1)]


@pytest.mark.parametrize(
    ("accepted", "doubts"),
    [
        ("LANG LC_*", []),
        ("LANG LC_CTYPE LC_ALL\nAcceptEnv  XMODIFIERS\nacceptenv=TZ", []),
        ("LANG *", ["*"]),
        ("LC_* BASH_ENV\nMatch User x\n  acceptenv LD_PRELOAD", ["BASH_ENV", "LD_PRELOAD"]),
    ],
)
def test_a_server_that_takes_any_environment_is_warned_of(
    sshd: Sshd, account: Account, tmp_path: Path, accepted: str, doubts: list[str]
) -> None:
    config = account.home / "config"
    config.write_text(f"# AcceptEnv OLD\nAcceptEnv {accepted}\n")
    mounts = f"mount --bind {config} /etc/ssh/sshd_config && mount -t tmpfs none /etc/ssh/sshd_config.d"
    found = gate.look(Elsewhere(account.user, account.home, mounts))
    assert found.doubts == doubts


PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7Yjq0N0nEoVdq5n0jv8lV8w0bGkV3ykJ1n6q0h0c9B me@here"


@pytest.mark.parametrize(
    "line",
    [
        f'restrict,command="/bin/sh /home/a/.remotejobs-gate/1/gate" {PUBLIC}',
        f'restrict,from="10.0.0.1",command="/bin/sh /home/a/.remotejobs-gate/1/gate",expiry-time="20300101" {PUBLIC}',
        f"# {PUBLIC}",
        f'command="echo {PUBLIC}" ssh-rsa AAAA other',
        "",
    ],
)
def test_a_line_like_this_leaves_the_key_narrow(line: str) -> None:
    assert authorized.open_at(f"{line}\n".encode(), PublicKey.parse(PUBLIC)) == []


@pytest.mark.parametrize(
    "line",
    [
        PUBLIC,
        f"  {PUBLIC}",
        f"no-pty {PUBLIC}",
        f'command="/bin/sh /home/a/.remotejobs-gate/1/gate" {PUBLIC}',
        f'restrict,pty,command="/bin/sh /home/a/.remotejobs-gate/1/gate" {PUBLIC}',
        f'restrict,command="/bin/sh /home/a/.remotejobs-gate/1/gate",port-forwarding {PUBLIC}',
        f'restrict,command="/bin/sh /home/a/.remotejobs-gate/1/gate; id" {PUBLIC}',
        f'environment="A=command=\\"/bin/sh /x/.remotejobs-gate/1/gate\\"" {PUBLIC}',
        f'restrict,command="id \\" restrict" {PUBLIC}',
    ],
)
def test_a_line_like_this_does_not(line: str) -> None:
    assert authorized.open_at(f"# a comment\n{line}\n".encode(), PublicKey.parse(PUBLIC)) == [2]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "a private key"),
        ("", "no public key"),
        ("ssh-ed25519 AAAA", "no public key"),
        ("ssh-rsa " + PUBLIC.split()[1], "no public key"),
        (f'command="id" {PUBLIC}', "no public key"),
        (f"{PUBLIC}\n{PUBLIC}\n", "no public key"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "no public key"),
    ],
)
def test_what_is_no_public_key_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        PublicKey.parse(text)


@pytest.mark.parametrize("address", ['"', "10.0.0.1,pty", "a b", "", "10.0.0.0/99", "*", "x\ny"])
def test_what_is_no_address_never_gets_into_the_line(address: str) -> None:
    with pytest.raises(BadInput, match="no address"):
        authorized.line(PublicKey.parse(PUBLIC), "/g", (address,))


def test_a_comment_cannot_widen_the_line() -> None:
    key = PublicKey.parse(PUBLIC + '" ,pty $(id)\t\x1b[0m')
    assert str(key).split(" ", 2)[2] == "me@here-pty-id-0m"
