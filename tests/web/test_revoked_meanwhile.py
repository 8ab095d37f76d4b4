"""A key is revoked while a login by it waits for a code: nothing stays open by a key that is gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.pam_sshd import CODE, KEY_THEN_QUESTIONS, Make, PamSshd, pam_servers
from flask import Flask
from web import people
from web.test_adding_a_server import Phone
from web.test_key_pages import field, press
from web.test_made_keys import paste

from remoteweb import hostkeys
from remoteweb.database import db
from remoteweb.models import Server
from remoteweb.sync.worker import Worker
from remoteweb.ways import MadeKey


@pytest.fixture(scope="module")
def make(parts_folder: Path) -> Iterator[Make]:
    with pam_servers(parts_folder) as make:
        yield make


@pytest.fixture
def ada(app: Flask) -> int:
    return people.account(app, "ada")


@pytest.fixture
def server(app: Flask, make: Make, ada: int) -> PamSshd:
    """It wants a key, and then a code."""
    made = make(CODE, KEY_THEN_QUESTIONS)
    with app.app_context():
        hostkeys.accept(ada, f"[{made.host}]:{made.port} {made.host_key}", "ada")
        db.session.commit()
    return made


@pytest.mark.parametrize("is_revoked", [False, True])
def test_a_connection_by_a_key_that_was_revoked_while_it_was_made_is_not_kept(
    app: Flask, ada: int, server: PamSshd, worker: Worker, is_revoked: bool
) -> None:
    phone, other = Phone(people.browser(app, ada)), Phone(people.browser(app, ada))
    account = server.account()
    (account.home / ".ssh" / "authorized_keys").write_text("")
    phone.add(f"{account.user}@{server.host}:{server.port}", way="key", keep="3600")
    paste(account, field(phone.sees('id="plain"'), "plain"))
    phone.press("try")
    page = phone.sees("Waits for your code")
    with app.app_context():
        key_id = db.session.scalars(db.select(MadeKey.id)).one()
    if is_revoked:
        press(other, other.client.get(f"/servers/keys/{key_id}").text, "revoke")
    phone.press("answer", page, **{"answer-0": server.code(account.user)})
    phone.sees("0 jobs")
    with app.app_context():
        kept = db.session.scalars(db.select(Server)).one()
        assert worker.kept.has(kept.id) is not is_revoked
        assert (kept.kept_by == "") is is_revoked
