"""Keys that are made here: for one login of one account, sealed in the database, replaced and revoked; on a real sshd."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster.sshd import Account, Sshd
from flask import Flask
from known_secrets import known
from sqlalchemy import event
from web import people
from web.made_once import FILE, on_postgresql
from web.syncing import APP
from web.terminals import ROOT, environment, run

from remotejobs.authorized import PublicKey
from remotejobs.errors import LoginError, LoginRefused
from remotejobs.shell import SSHShell
from remoteweb import collector, connect, hostkeys, key_making, made_keys, sources, viewer
from remoteweb.accounts import FIRST, Audit
from remoteweb.database import begin_writing, db
from remoteweb.kept import KeptConnections
from remoteweb.key_lines import KeyLines
from remoteweb.made_keys import At
from remoteweb.models import Server
from remoteweb.paths import state_folder
from remoteweb.sealing import FILE as ENCRYPTION
from remoteweb.sealing import CannotUnseal
from remoteweb.ways import IN_USE, MADE, REPLACED, REVOKED, MadeKey


@pytest.fixture
def account(sshd: Sshd) -> Account:
    """One that no key opens yet."""
    made = sshd.account()
    lines(made).write_text("")
    return made


def lines(account: Account) -> Path:
    return account.home / ".ssh" / "authorized_keys"


def paste(account: Account, line: str) -> None:
    with lines(account).open("a") as file:
        file.write(line + "\n")


@pytest.fixture
def there(sshd: Sshd, account: Account) -> str:
    return f"{account.user}@{sshd.host}:{sshd.port}"


@pytest.fixture
def at(app: Flask, sshd: Sshd, account: Account) -> At:
    """Of the first account, which has accepted the host key."""
    accept(app, sshd, FIRST)
    return At(FIRST, account.user, sshd.host, sshd.port)


def accept(app: Flask, sshd: Sshd, owner: int) -> None:
    with app.app_context():
        hostkeys.accept(owner, f"[{sshd.host}]:{sshd.port} {sshd.host_key}", "somebody")
        db.session.commit()


def asked(app: Flask, at: At, **how: bool) -> KeyLines:
    """Asked for, and made as the worker does it."""
    with app.app_context():
        row = made_keys.ask(at, "somebody", **how)
        key_id = row.id
        db.session.commit()
        key_making.make_wanted()
        row = db.session.get_one(MadeKey, key_id)
        note_the_secret(row)
        return KeyLines.of(row.public, str(at))


def note_the_secret(row: MadeKey) -> None:
    """From here on whatever a test leaves behind is searched for it, and so is what `ps` shows."""
    text = key_making.opened(row).text.splitlines()
    known("".join(text[1:-1]))
    known(text[2])  # the line that the private half begins in


def sync(app: Flask, at: At, apps: list[str] | None = None) -> str:
    with app.app_context():
        if at.owner_id != FIRST:
            with people.working_for(app, at.owner_id):
                return _sync(at, apps)
        return _sync(at, apps)


def _sync(at: At, apps: list[str] | None) -> str:
    server = sources.server(at.user, at.host, at.port)
    wanted = apps or (None if server.sources else [APP])
    return collector.collect(server, connect.unattended, apps=wanted, ignore_interval=True).sentence


def states(app: Flask) -> list[str]:
    with app.app_context():
        return list(db.session.scalars(db.select(MadeKey.state).order_by(MadeKey.id)))


def notes(app: Flask) -> list[tuple[str, str]]:
    with app.app_context():
        rows = db.session.execute(db.select(Audit.who, Audit.what).order_by(Audit.id))
        return [(who, what) for who, what in rows if "key" in what and "host key" not in what]


def files() -> list[Path]:
    """All that the database lies in, its log of writes too."""
    return [path for path in state_folder().iterdir() if path.name.startswith(FILE)]


def tried(sshd: Sshd, account: Account, since: int = 0) -> list[str]:
    """The fingerprints of the keys that sshd was shown for this account, in order."""
    log = sshd.log.read_text(errors="replace")[since:]
    said = re.findall(rf"(?:Failed|Accepted) publickey for {account.user} .*?(SHA256:\S+)", log)
    return list(dict.fromkeys(said))


def test_a_key_that_is_made_pasted_and_used_is_the_only_one_that_its_server_is_shown(
    app: Flask, sshd: Sshd, account: Account, at: At, home: Path, ssh_agent: Path
) -> None:
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    shutil.copy(sshd.key, folder / "id_ed25519")
    subprocess.run(["ssh-add", "-q", str(sshd.key)], check=True)
    key = asked(app, at)
    with pytest.raises(LoginRefused) as refusal:
        sync(app, at)
    assert key.fingerprint in str(refusal.value) and "Its line has to stand in" in str(refusal.value)
    assert "agent" not in str(refusal.value) and ".ssh/id" not in str(refusal.value)
    paste(account, key.plain)
    with sshd.counting() as counted:
        assert "jobs" in sync(app, at)
    assert (counted.connections, counted.execs) == (1, 1)
    assert tried(sshd, account) == [key.fingerprint]
    assert states(app) == [IN_USE]
    assert notes(app) == [
        ("admin", "asked for a key"),
        ("remoteweb", "made a key"),
        ("remoteweb", "was let in by a new key"),
    ]
    sync(app, at)
    assert len(notes(app)) == 3, "it is noted once"


def test_the_private_half_is_nowhere_in_clear(app: Flask, at: At) -> None:
    asked(app, at)
    with app.app_context():
        row = db.session.scalars(db.select(MadeKey)).one()
        held = key_making.opened(row)
        assert held.text not in repr(held) and "PRIVATE" in held.text
        blob = base64.b64decode("".join(held.text.splitlines()[1:-1]))
        seed = blob[blob.rindex(b"\0\0\0\x40") + 4 :][:32]
        assert base64.b64encode(seed).decode() not in row.sealed
        stored = repr([tuple(one) for one in db.session.execute(db.select(*MadeKey.__table__.columns))])
        forms = {seed.hex(), base64.b64encode(seed).decode(), repr(seed)[2:-1]}
        assert not [form for form in forms if form in stored]
    assert on_postgresql or not [path for path in files() if seed in path.read_bytes()]


def test_another_key_that_let_us_in_until_now_does_so_until_the_new_one_was_taken(
    app: Flask, sshd: Sshd, account: Account, at: At, home: Path
) -> None:
    (home / ".ssh").mkdir(mode=0o700)
    shutil.copy(sshd.key, home / ".ssh" / "id_ed25519")
    paste(account, sshd.key.with_suffix(".pub").read_text().strip())
    sync(app, at)
    own = tried(sshd, account)
    key = asked(app, at)
    before = len(sshd.log.read_text())
    sync(app, at)
    assert tried(sshd, account, before) == [key.fingerprint, *own] and states(app) == [MADE], (
        "a key that is not pasted breaks nothing"
    )
    paste(account, key.plain)
    sync(app, at)
    before = len(sshd.log.read_text())
    sync(app, at)
    assert tried(sshd, account, before) == [key.fingerprint]


def test_a_replaced_key_goes_on_letting_in_until_the_server_takes_its_successor_and_is_then_gone_from_the_file(
    app: Flask, sshd: Sshd, account: Account, at: At
) -> None:
    old = asked(app, at)
    paste(account, old.plain)
    sync(app, at)
    new = asked(app, at, to_replace=True)
    assert asked(app, at, to_replace=True) == new != old, "asked for twice, it is the same"
    sync(app, at)
    assert states(app) == [IN_USE, MADE], "the old one still lets in"
    with app.app_context():
        sealed = [row.sealed.encode() for row in made_keys.at(at)]
    assert on_postgresql or any(sealed[0] in path.read_bytes() for path in files())
    lines(account).write_text(f"{old.plain}\n{new.plain}\n")
    sync(app, at)
    assert states(app) == [REPLACED, IN_USE]
    assert notes(app)[-2:] == [("remoteweb", "destroyed a key"), ("remoteweb", "was let in by a new key")]
    with app.app_context():
        first, second = made_keys.at(at)
        assert (first.sealed, second.sealed.encode()) == ("", sealed[1])
        assert first.public in old.plain, "which line is to be removed is still told"
    assert not [path for path in files() if sealed[0] in path.read_bytes()]
    lines(account).write_text(f"{new.plain}\n")
    before = len(sshd.log.read_text())
    sync(app, at)
    assert tried(sshd, account, before) == [new.fingerprint]


def test_a_revoked_key_is_destroyed_at_once_and_offered_no_more(
    app: Flask, sshd: Sshd, account: Account
) -> None:
    ada = people.account(app, "ada")
    accept(app, sshd, ada)
    at = At(ada, account.user, sshd.host, sshd.port)
    key = asked(app, at)
    paste(account, key.plain)
    sync(app, at)
    with app.app_context():
        (row,) = made_keys.live(at)
        sealed = row.sealed.encode()
        made_keys.revoke([row])
    assert states(app) == [REVOKED]
    assert not [path for path in files() if sealed in path.read_bytes()]
    with (
        sshd.counting() as counted,
        pytest.raises(LoginError, match=r"was revoked, and no other is there\. Nothing"),
    ):
        sync(app, at)
    assert counted.connections == 0
    with app.app_context():
        assert "was revoked" in db.session.scalars(db.select(Server)).one().needs_person


def test_a_key_that_another_one_sealed_is_a_sentence_and_nothing_is_lost(
    app: Flask, sshd: Sshd, account: Account, at: At
) -> None:
    paste(account, asked(app, at).plain)
    sync(app, at)
    path = state_folder() / ENCRYPTION
    right = path.read_text()
    for wrong, words in (
        (base64.b64encode(bytes(32)).decode(), "lies encrypted under another key"),
        ("too short", "has to hold 32 random bytes in base64"),
        (None, f"{path} is needed"),
    ):
        path.unlink()
        if wrong is not None:
            path.write_text(wrong)
            path.chmod(0o600)
        with sshd.counting() as counted, pytest.raises(CannotUnseal, match=re.escape(words)):
            sync(app, at)
        assert counted.connections == 0 and path.exists() == (wrong is not None), "none is made in its place"
        if wrong is None:
            path.touch()
    path.write_text(right)
    path.chmod(0o640)
    with pytest.raises(CannotUnseal, match=f"Others can read {path}"):
        sync(app, at)
    path.chmod(0o600)
    assert "jobs" in sync(app, at)


@pytest.mark.parametrize("column", ["owner_id", "user", "host", "port", "public", "sealed"])
def test_what_is_moved_to_another_row_does_not_open(app: Flask, at: At, column: str) -> None:
    ada = people.account(app, "ada")
    asked(app, at)
    other = asked(app, At(FIRST, "other", "alps.example.org", 22))
    values = {
        "owner_id": ada,
        "user": "root",
        "host": "evil.example.org",
        "port": 4711,
        "public": other.plain.removeprefix("restrict "),
    }
    with app.app_context():
        first, second = db.session.scalars(db.select(MadeKey).order_by(MadeKey.id))
        begin_writing()
        setattr(first, column, second.sealed if column == "sealed" else values[column])
        db.session.commit()
        with pytest.raises(CannotUnseal, match="somebody has changed the database"):
            key_making.opened(first)
        key_making.opened(second)


# The steps of a replacement, at each of which the program may be killed.
STEPS = {
    "the new key is sealed, not stored": ("key_making.made_keys", "made", "before"),
    "the new key is stored": ("key_making.made_keys", "made", "after"),
    "the server has taken it, nothing is noted": ("made_keys", "accepted", "before"),
    "the old one is destroyed, not committed": ("made_keys", "_destroy", "after"),
    "all is committed, the log of writes is not emptied": ("made_keys", "forget_what_was_written", "before"),
}
DIES = """
import os, signal, sys
from remoteweb import create_app, connect, collector, key_making, made_keys, sources
from remoteweb.made_keys import At
from remoteweb.accounts import FIRST
step, user, host, port = sys.argv[1:]
place, name, when = {steps}[step]
module = made_keys
real = getattr(module, name)
def dies(*arguments, **options):
    if when == "after":
        real(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(module, name, dies)
app = create_app()
with app.app_context():
    key_making.make_wanted()
    server = sources.known(user, host, int(port))
    collector.collect(server, connect.unattended, ignore_interval=True)
"""


@pytest.mark.parametrize("step", STEPS)
def test_a_replacement_that_is_killed_leaves_a_key_that_lets_in(
    app: Flask, sshd: Sshd, account: Account, at: At, step: str
) -> None:
    old = asked(app, at)
    paste(account, old.plain)
    sync(app, at)
    with app.app_context():
        made_keys.ask(at, "somebody", to_replace=True)
        db.session.commit()
        if not step.startswith("the new key"):
            key_making.make_wanted()
            paste(account, f"restrict {made_keys.live(at)[0].public}")
    place = [step, at.user, at.host, str(at.port)]
    done = subprocess.run(
        [sys.executable, "-c", DIES.format(steps=STEPS), *place],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -9, done.stderr
    assert "jobs" in sync(app, at)
    with app.app_context():
        key_making.make_wanted()
        new = made_keys.live(at)[0]
        lines(account).write_text(f"{old.plain}\nrestrict {new.public}\n")
    sync(app, at)
    assert states(app) == [REPLACED, IN_USE]


def test_the_narrow_line_works_once_the_gate_is_there(
    app: Flask, sshd: Sshd, account: Account, at: At, tmp_path: Path
) -> None:
    from library.machines import over_ssh

    from remotejobs import gate

    key = asked(app, at)
    paste(account, sshd.key.with_suffix(".pub").read_text().strip())
    for path in (account.home / ".ssh", lines(account)):
        shutil.chown(path, account.user, account.user)
    with over_ssh(sshd, account.user) as full:
        installed = gate.install(full, PublicKey.read(key.plain.removeprefix("restrict ")))
        lines(account).write_text(key.narrow + "\n")
        assert "jobs" in sync(app, at)
        with app.app_context():
            assert sources.known(at.user, at.host, at.port).narrow == gate.build()  # type: ignore[union-attr]
            shell = connect.unattended(sources.known(at.user, at.host, at.port))  # type: ignore[arg-type]
            with shell.run("touch PWNED") as output:
                assert output.status != 0
            shell.close()
    assert not (account.home / "PWNED").exists()
    assert installed.line.endswith(key.narrow.partition('gate" ')[2]), (
        "the gate's own line is for the same key"
    )


def test_from_the_terminal_a_key_is_made_shown_replaced_and_revoked(
    app: Flask, sshd: Sshd, account: Account, at: At, there: str
) -> None:
    made = run("key", "make", there)
    assert made.returncode == 0, made.stderr
    with app.app_context():
        note_the_secret(made_keys.live(at)[0])
    *_, plain = made.stdout.splitlines()
    assert plain.startswith("restrict ssh-ed25519 ") and 'restrict,command="/bin/sh ~/' in made.stdout
    assert run("key", "make", there).stdout == made.stdout, "there is one key for a login"
    early = run("key", "rotate", there)
    assert early.returncode == 2 and "has let us in" in early.stderr
    paste(account, plain)
    done = run("update-database", APP, there)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(run("key", "list", "--json").stdout)
    assert (row["server"], row["state"], row["public"]) == (there, "in_use", plain.removeprefix("restrict "))
    new = run("key", "rotate", there)
    assert new.stdout != made.stdout and "goes on letting in" in new.stderr
    assert len(run("key", "list").stdout.splitlines()) == 2
    revoked = run("key", "revoke", there)
    assert revoked.returncode == 0 and revoked.stdout.count("Take the line that ends like this") == 2
    assert plain.removeprefix("restrict ") in revoked.stdout
    assert run("key", "revoke", there).returncode == 1
    assert run("key", "show", "me@alps.example.org").returncode == 1
    assert run("key", "list", "--owner", "nobody").returncode == 1


def test_a_key_that_somebody_put_into_the_database_is_not_shown(app: Flask, at: At, there: str) -> None:
    asked(app, at)
    other = asked(app, At(FIRST, "other", "alps.example.org", 22))
    with app.app_context():
        row = made_keys.live(at)[0]
        begin_writing()
        row.public = other.plain.removeprefix("restrict ")
        db.session.commit()
    for command in ("show", "make"):
        shown = run("key", command, there)
        assert (shown.returncode, shown.stdout) == (3, "") and "changed the database" in shown.stderr


def test_with_a_revoked_key_goes_the_connection_that_it_opened_also_where_the_program_dies_then(
    app: Flask, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(app, at)

    def died() -> None:
        raise OSError("killed")

    monkeypatch.setattr(made_keys, "forget_what_was_written", died)
    with app.app_context():
        viewer.become(viewer.of_account(FIRST))
        server_id = sources.server(at.user, at.host, at.port).id
        KeptConnections("host:1:place-word").keep(server_id, SSHShell(at.host), time.time() + 3600)
        with pytest.raises(OSError, match="killed"):
            made_keys.revoke(made_keys.live(at))
        db.session.rollback()
        assert made_keys.live(at) == []
        assert db.session.get_one(Server, server_id).kept_by == ""


def test_what_seals_the_first_key_is_on_the_disk_before_any_key_relies_on_it(
    app: Flask, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name as well: without the folder's own sync a power cut may take a file whose bytes are on the disk."""
    path, fsync, on_disk = state_folder() / ENCRYPTION, os.fsync, []

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        if os.path.samestat(os.fstat(descriptor), path.parent.stat()):
            on_disk.append((path.exists(), states(app)))

    monkeypatch.setattr(os, "fsync", noted)
    asked(app, at)
    assert (True, ["wanted"]) in on_disk


@pytest.mark.sqlite
def test_a_log_of_writes_that_cannot_be_emptied_ends_no_sync(
    app: Flask, at: At, caplog: pytest.LogCaptureFixture
) -> None:
    asked(app, at)
    elsewhere = state_folder().with_name("elsewhere")
    with app.app_context():
        made_keys.accepted(at, PublicKey.parse(made_keys.live(at)[0].public).blob)
    asked(app, at, to_replace=True)
    with app.app_context():
        blob = PublicKey.parse(made_keys.live(at)[0].public).blob
        event.listen(db.session, "after_commit", lambda _: state_folder().rename(elsewhere), once=True)
        connect._Accepted(at)(blob)
    elsewhere.rename(state_folder())
    assert states(app) == [REPLACED, IN_USE]
    assert "may still lie in the database's log of writes" in caplog.text


def test_a_key_that_was_revoked_before_it_was_made_is_not_made_and_keeps_nobody_waiting(
    app: Flask, at: At
) -> None:
    with app.app_context():
        row = made_keys.ask(at, "somebody")
        key_id = row.id
        db.session.commit()
        made_keys.revoke([row])
        key_making.make(key_id)
        assert made_keys.at(at) == []


def test_each_account_has_keys_of_its_own(app: Flask, sshd: Sshd, at: At, there: str) -> None:
    ada = people.account(app, "ada")
    mine = asked(app, at)
    hers = asked(app, at._replace(owner_id=ada))
    assert mine.fingerprint != hers.fingerprint
    assert hers.fingerprint in run("key", "list", "--owner", "ada").stdout
    assert mine.fingerprint not in run("key", "list", "--owner", "ada").stdout


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("KEY", "c2hvcnQ=", "REMOTEWEB_KEY_ENCRYPTION_KEY has to be 32 random bytes in base64"),
        ("FILE", "relative", "REMOTEWEB_KEY_ENCRYPTION_FILE has to be the absolute path of a file"),
        ("FILE", "/nowhere/key", "REMOTEWEB_KEY_ENCRYPTION_FILE names /nowhere/key"),
    ],
)
def test_a_worker_that_has_no_usable_key_to_seal_with_does_not_start(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"REMOTEWEB_KEY_ENCRYPTION_{name}", value)
    done = run("sync-worker")
    assert (
        done.returncode == 1 and words in done.stderr and value not in done.stderr.replace("/nowhere/key", "")
    )


def test_the_key_of_the_environment_seals_and_the_pages_alone_do_not_start_with_it(
    app: Flask, at: At, monkeypatch: pytest.MonkeyPatch, there: str, tmp_path: Path
) -> None:
    secret = known(base64.b64encode(bytes(range(32))).decode())
    monkeypatch.setenv("REMOTEWEB_KEY_ENCRYPTION_KEY", secret)
    assert run("key", "make", there).returncode == 0
    assert not (state_folder() / ENCRYPTION).exists()
    assert run("key", "show", there).returncode == 0
    for more in ("PUBLIC_URL=https://jobs.example.org", "TRUSTED_PROXIES=1"):
        monkeypatch.setenv(*f"REMOTEWEB_{more}".split("=", 1))
    done = run("web", "--socket", str(tmp_path / "s"))
    assert done.returncode == 1 and "It is for the sync worker alone" in done.stderr
