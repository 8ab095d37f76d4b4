"""`remoteweb host-keys`: what was accepted is listed, and what is taken back is refused by the next login."""

import json
import re
import shutil
from pathlib import Path

import pytest
from cluster.sshd import Sshd, make_key
from flask import Flask
from web.people import account
from web.stored import rows
from web.terminals import run

from remoteweb import hostkeys
from remoteweb.database import db

NAME = "alps.example.org"


@pytest.fixture
def public_keys(tmp_path: Path) -> list[str]:
    made = [make_key(tmp_path / name).with_suffix(".pub").read_text() for name in ("one", "two")]
    return [" ".join(text.split()[:2]) for text in made]


def accept(app: Flask, line: str, owner: int = 1, by: str = "admin") -> hostkeys.KeyLine:
    with app.app_context():
        key = hostkeys.accept(owner, line, by, besides=True)
        db.session.commit()
    return key


def test_what_was_accepted_is_listed_with_who_and_when(app: Flask, public_keys: list[str]) -> None:
    none = run("host-keys", "list")
    assert (none.returncode, none.stdout) == (0, "")
    assert none.stderr == "No host key was accepted here yet.\n"
    key = accept(app, f"{NAME} {public_keys[0]}", by="\x1b[2Jadmin")
    said = run("host-keys", "list").stdout
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    told = rf"{NAME}  ssh-ed25519  {re.escape(key.fingerprint)}  \(accepted by .*admin, {time}\)\n"
    assert re.fullmatch(told, said) and "\x1b" not in said
    (row,) = json.loads(run("host-keys", "list", "--json").stdout)
    assert (row["name"], row["fingerprint"], f"{row['type']} {row['key']}") == (
        NAME,
        key.fingerprint,
        public_keys[0],
    )


def test_of_several_keys_the_one_that_is_named_goes(app: Flask, public_keys: list[str]) -> None:
    first, second = (accept(app, f"{NAME} {key}") for key in public_keys)
    which = run("host-keys", "forget", NAME)
    assert which.returncode == 2
    assert first.fingerprint in which.stderr and second.fingerprint in which.stderr
    done = run("host-keys", "forget", NAME, second.fingerprint)
    assert (done.returncode, done.stdout) == (0, "")
    assert (
        done.stderr
        == f"The key of {NAME} is not accepted any more. The next login there asks about it again.\n"
    )
    assert rows("SELECT type || ' ' || key FROM host_key") == [(public_keys[0],)]
    assert rows("SELECT who, what, subject, detail FROM audit ORDER BY id DESC LIMIT 1") == [
        ("admin", "removed a host key", f"{NAME} ssh-ed25519 {second.fingerprint}", "on a terminal")
    ]


@pytest.mark.parametrize("asked", [["other.example.org"], [NAME, "SHA256:other"], ["\x1b[2J"]])
def test_what_was_not_accepted_is_a_sentence_and_nothing_goes(
    app: Flask, public_keys: list[str], asked: list[str]
) -> None:
    accept(app, f"{NAME} {public_keys[0]}")
    ended = run("host-keys", "forget", *asked)
    assert ended.returncode == 2 and "was accepted here: see `remoteweb host-keys list`" in ended.stderr
    assert "\x1b" not in ended.stderr and "Traceback" not in ended.stderr
    assert len(rows("SELECT id FROM host_key")) == 1


def test_each_account_has_its_own(app: Flask, public_keys: list[str]) -> None:
    other = account(app, "ada")
    accept(app, f"{NAME} {public_keys[0]}", other, "ada")
    assert run("host-keys", "list").stdout == ""
    assert run("host-keys", "forget", NAME).returncode == 2
    assert NAME in run("host-keys", "list", "--owner", "ada").stdout
    assert run("host-keys", "forget", NAME, "--owner", "ada").returncode == 0
    assert rows("SELECT id FROM host_key") == []


def test_a_login_where_the_key_was_taken_back_is_refused(
    app: Flask, sshd: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMOTEWEB_MIN_INTERVAL", "1")
    (home / ".ssh").mkdir(mode=0o700)
    shutil.copy(sshd.key, home / ".ssh" / "id_ed25519")
    (home / ".ssh" / "id_ed25519").chmod(0o600)
    accept(app, sshd.known_hosts.read_text().strip())
    sync = ["update-database", "remoteJobs-host-keys", sshd.destination]
    assert run(*sync).returncode == 0
    assert run("host-keys", "forget", f"[{sshd.host}]:{sshd.port}").returncode == 0
    assert run(*sync).returncode == 3
