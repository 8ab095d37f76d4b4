"""On a VPS a sync uses the keys that it was given: no agent, nothing of ~/.ssh, nothing that others can read."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.sshd import Account, Sshd
from flask import Flask
from web.terminals import run

from remotejobs.errors import LoginRefused
from remoteweb import collector, connect, given_keys, sources
from remoteweb.config import WrongSetting
from remoteweb.models import Server

pytestmark = pytest.mark.sqlite  # of the way to a server, whatever the database


@pytest.fixture
def persons_own(sshd: Sshd, home: Path, ssh_agent: Path) -> Account:
    """An account that the keys of ~/.ssh, an agent and an alias of the person would all open."""
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    shutil.copy(sshd.key, folder / "id_ed25519")
    (folder / "id_ed25519").chmod(0o600)
    shutil.copy(sshd.known_hosts, folder / "known_hosts")
    subprocess.run(["ssh-add", "-q", str(folder / "id_ed25519")], check=True)
    return sshd.account()


@pytest.fixture
def given(tmp_path: Path) -> Path:
    folder = tmp_path / "given"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def server(app: Flask, sshd: Sshd, persons_own: Account, given: Path, home: Path) -> Iterator[Server]:
    app.config["SSH_KEYS"] = (given,)
    named = [str(home / ".ssh" / "id_ed25519")]
    with app.app_context():
        yield sources.server(persons_own.user, sshd.host, sshd.port, key_files=named)


def sync(server: Server) -> None:
    at = sources.known(server.user, server.host, server.port)
    assert at
    collector.collect(at, connect.unattended, apps=["jobs"], ignore_interval=True)


def new_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def test_no_key_but_the_given_ones_is_offered(server: Server, sshd: Sshd, given: Path) -> None:
    with pytest.raises(LoginRefused):
        sync(server)
    new_key(given / "another")
    with pytest.raises(LoginRefused) as refusal:
        sync(server)
    assert str(given / "another") in str(refusal.value) and ".ssh" not in str(refusal.value)
    shutil.copy(sshd.key, given / "mine")
    sync(server)


def test_what_lies_beside_the_keys_in_a_folder_is_no_key(given: Path) -> None:
    new_key(given / "ssh-keys_mine")
    (given / "seal").write_bytes(bytes(range(256)))
    (given / "folder").mkdir()
    (given / "gone").symlink_to(given / "nowhere")
    assert given_keys.given_keys([given]) == [given / "ssh-keys_mine"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_stops_the_worker(
    given: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_key(given / "mine")
    (given / "mine").chmod(mode)
    monkeypatch.setenv("REMOTEWEB_SSH_KEYS", str(given))
    done = run("sync-worker")
    assert done.returncode == 1
    assert f"Others can read the private key {given / 'mine'}." in done.stderr


def test_a_credential_may_carry_the_mask_of_its_access_list(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_key(given / "mine")
    (given / "mine").chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    given_keys.check([given])
    (given / "mine").chmod(0o444)
    with pytest.raises(WrongSetting, match="Others can read"):
        given_keys.check([given])


def test_a_key_that_is_not_there_stops_the_worker(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOTEWEB_SSH_KEYS", str(given / "mine"))
    done = run("sync-worker")
    assert (done.returncode, done.stderr.strip()) == (
        1,
        f"Error: REMOTEWEB_SSH_KEYS names {given / 'mine'}: No such file or directory.",
    )
