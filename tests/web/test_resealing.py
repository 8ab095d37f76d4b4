"""Another key of keys: what was made here is sealed anew under it, and opens all the time, also where that is killed."""

import base64
import secrets
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from known_secrets import known
from web import people
from web.conftest import on_postgresql
from web.terminals import ROOT, environment, run
from web.test_made_keys import asked, files

from remoteweb import key_making, made_keys
from remoteweb.accounts import FIRST, Audit
from remoteweb.database import begin_writing, db
from remoteweb.made_keys import At
from remoteweb.paths import state_folder
from remoteweb.sealing import FILE as ENCRYPTION
from remoteweb.sealing import CannotUnseal
from remoteweb.ways import MadeKey


def new_key() -> str:
    return known(base64.b64encode(secrets.token_bytes(32)).decode())


@pytest.fixture
def made(app: Flask) -> list[int]:
    """Keys of two accounts, one of which has let itself be revoked."""
    ada = people.account(app, "ada")
    for owner, user in ((FIRST, "me"), (ada, "ada"), (ada, "gone")):
        asked(app, At(owner, user, "alps.example.org", 22))
    with app.app_context():
        made_keys.revoke(made_keys.live(At(ada, "gone", "alps.example.org", 22)))
        return list(db.session.scalars(db.select(MadeKey.id).order_by(MadeKey.id)))


def sealed(app: Flask) -> list[tuple[str, str]]:
    """What lies in each row, after each was opened that has a private half."""
    with app.app_context():
        rows = db.session.scalars(db.select(MadeKey).order_by(MadeKey.id)).all()
        for row in rows:
            if row.sealed:
                key_making.opened(row)
        return [(row.sealed, row.sealed_by) for row in rows]


def notes(app: Flask) -> list[str]:
    with app.app_context():
        query = db.select(Audit.subject).where(Audit.what == "sealed a key anew").order_by(Audit.id)
        return [subject.partition(" ")[0] for subject in db.session.scalars(query)]


def test_on_ones_own_machine_another_key_takes_the_place_of_the_former_one(
    app: Flask, made: list[int]
) -> None:
    path = state_folder() / ENCRYPTION
    former, before = path.read_text(), sealed(app)
    done = run("key", "reseal")
    assert (done.returncode, done.stdout) == (0, "Keys that were encrypted anew: 2\n"), done.stderr
    assert len(path.read_text().splitlines()) == 1 and path.read_text() != former
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    after = sealed(app)
    assert [bool(text) for text, _ in after] == [True, True, False], "what was destroyed stays so"
    assert not set(after[:2]) & set(before) and len({by for _, by in after[:2]}) == 1
    assert notes(app) == ["me@alps.example.org", "ada@alps.example.org"]
    old = [text.encode() for text, _ in before[:2]]
    assert on_postgresql or not [one for one in old for file in files() if one in file.read_bytes()]
    path.write_text(former)
    with pytest.raises(CannotUnseal, match="under another key"):
        sealed(app)


@pytest.mark.parametrize("is_a_file", [True, False], ids=["a file", "a setting"])
def test_a_key_that_was_named_is_replaced_with_the_former_behind_it(
    app: Flask, made: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_a_file: bool
) -> None:
    former = (state_folder() / ENCRYPTION).read_text().strip()
    (state_folder() / ENCRYPTION).unlink()
    new, file = new_key(), tmp_path / "credential"

    def give(*keys: str) -> None:
        if is_a_file:
            file.write_text("\n".join(keys) + "\n")
            file.chmod(0o600)
            monkeypatch.setenv("REMOTEWEB_KEY_ENCRYPTION_FILE", str(file))
        else:
            monkeypatch.setenv("REMOTEWEB_KEY_ENCRYPTION_KEY", ",".join(keys))

    give(new)
    done = run("key", "reseal")
    assert done.returncode == 3 and done.stderr.count("lies encrypted under another key") == 2
    assert "Nothing needs a former key" not in done.stderr
    give(new, former)
    assert run("key", "show", "me@alps.example.org").returncode == 0, (
        "until then each opens by what sealed it"
    )
    done = run("key", "reseal")
    assert (done.returncode, done.stdout) == (0, "Keys that were encrypted anew: 2\n"), done.stderr
    where = str(file) if is_a_file else "REMOTEWEB_KEY_ENCRYPTION_KEY"
    assert f"Nothing needs a former key any more: take it out of {where}" in done.stderr
    give(new)
    assert run("key", "show", "me@alps.example.org").returncode == 0
    assert "anew: 0" in run("key", "reseal").stdout
    assert not (state_folder() / ENCRYPTION).exists(), "what is named is the person's, nothing else is made"


def test_a_row_that_does_not_open_is_told_and_hinders_no_other(app: Flask, made: list[int]) -> None:
    with app.app_context():
        begin_writing()
        db.session.get_one(MadeKey, made[0]).host = "evil.example.org"
        db.session.commit()
    done = run("key", "reseal")
    assert done.returncode == 3 and "somebody has changed the database" in done.stderr
    assert done.stdout == "Keys that were encrypted anew: 1\n"
    assert len((state_folder() / ENCRYPTION).read_text().splitlines()) == 2, "the former one is needed still"
    with app.app_context():
        begin_writing()
        db.session.get_one(MadeKey, made[0]).host = "alps.example.org"
        db.session.commit()
    assert run("key", "reseal").returncode == 0
    sealed(app)
    assert len((state_folder() / ENCRYPTION).read_text().splitlines()) == 1


# Where the program may be killed: the module, its function, before or after that, and which call of it.
STEPS = {
    "there is no new key yet": ("sealing", "put_a_new_key_in_front", "before", 1),
    "the new key is there": ("sealing", "put_a_new_key_in_front", "after", 1),
    "the first is sealed, not stored": ("made_keys", "sealed_anew", "before", 1),
    "the first is stored": ("made_keys", "sealed_anew", "after", 1),
    "all are stored": ("made_keys", "sealed_anew", "after", 2),
    "the former key is still there": ("sealing", "take_the_former_out", "before", 1),
    "the former key is gone": ("sealing", "take_the_former_out", "after", 1),
}
DIES = """
import os, signal, sys
from remoteweb import create_app, made_keys, resealing, sealing
module, name, when, which = {steps}[sys.argv[1]]
module, calls = globals()[module], []
real = getattr(module, name)
def dies(*arguments):
    calls.append(1)
    is_last = len(calls) == which
    if is_last and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    done = real(*arguments)
    if is_last:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
setattr(module, name, dies)
with create_app().app_context():
    resealing.reseal()
"""


@pytest.mark.parametrize("step", STEPS)
def test_killed_anywhere_each_key_opens_and_the_next_run_ends_it(
    app: Flask, made: list[int], step: str
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", DIES.format(steps=STEPS), step],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert killed.returncode == -9, killed.stderr
    sealed(app)
    # One that is made meanwhile lies under a key that stays.
    asked(app, At(FIRST, "later", "alps.example.org", 22))
    done = run("key", "reseal")
    assert done.returncode == 0, done.stderr
    assert len({by for text, by in sealed(app) if text}) == 1
    assert len((state_folder() / ENCRYPTION).read_text().splitlines()) == 1


def test_two_at_once_and_a_worker_that_makes_keys_meanwhile_lose_none(app: Flask, made: list[int]) -> None:
    command = [sys.executable, "-m", "remoteweb", "key", "reseal"]
    both = [
        subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    count = 0
    while any(one.poll() is None for one in both):
        asked(app, At(FIRST, f"later{count}", "alps.example.org", 22))
        count += 1
    for one in both:
        _, told = one.communicate()
        assert one.returncode == 0, told
    assert count > 1
    rows = sealed(app)
    assert len(rows) == len(made) + count
