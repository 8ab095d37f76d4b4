"""A key of its own, from the page: asked for there, made by the worker, pasted by a person, tried, replaced and revoked."""

import re
import time
from html import unescape
from pathlib import Path

import pytest
from cluster.sshd import Account, Sshd
from flask import Flask
from web import people
from web.syncing import eventually
from web.test_adding_a_server import Phone, shown
from web.test_made_keys import account, lines, note_the_secret, paste, states, there

from remoteweb import hostkeys, key_making, made_keys, sealing
from remoteweb.accounts import FIRST, Audit, Session
from remoteweb.database import db
from remoteweb.models import Server, Source
from remoteweb.paths import state_folder
from remoteweb.sync.worker import Worker
from remoteweb.ways import IN_USE, MADE, REPLACED, REVOKED, UNMADE, Login, MadeKey

__all__ = ["account", "there"]


@pytest.fixture
def ada(app: Flask, sshd: Sshd) -> int:
    """No administrator; she has accepted the host key."""
    person = people.account(app, "ada")
    with app.app_context():
        hostkeys.accept(person, f"[{sshd.host}]:{sshd.port} {sshd.host_key}", "ada")
        db.session.commit()
    return person


@pytest.fixture
def phone(app: Flask, ada: int) -> Phone:
    return Phone(people.browser(app, ada))


def field(page: str, name: str) -> str:
    """What a person copies: the text of a read-only field."""
    found = re.search(rf'<textarea id="{name}[^"]*" readonly[^>]*>([^<]*)</textarea>', page)
    assert found, shown(page)
    return unescape(found[1])


def press(phone: Phone, page: str, verb: str) -> str:
    """The form of that verb that the page has; gives the page that it leads to."""
    (action,) = {found for found in re.findall(r'action="([^"]+)"', page) if found.endswith(f"/{verb}")}
    answer = phone.client.post(action, follow_redirects=True)
    phone.address = answer.request.path
    return answer.text


def added(app: Flask, phone: Phone, account: Account, there: str) -> str:
    """With a key of its own, which lets in: the address of the key's page."""
    phone.add(there, way="key")
    paste(account, field(phone.sees('id="plain"'), "plain"))
    press(phone, phone.client.get(phone.address).text, "try")
    phone.sees("0 jobs")
    with app.app_context():
        return f"/servers/keys/{db.session.scalars(db.select(MadeKey.id)).one()}"


def test_a_server_is_added_with_a_key_of_its_own_by_who_has_no_other(
    app: Flask, sshd: Sshd, account: Account, worker: Worker, phone: Phone, there: str
) -> None:
    with sshd.counting() as counted:
        phone.add(there, way="key")
        page = phone.sees('id="plain"')
        assert "Waits for you to add its key there" in page
    assert counted.connections == 0, "nothing is tried before the person says so"
    with app.app_context():
        row = db.session.scalars(db.select(MadeKey)).one()
        note_the_secret(row)
        assert "PRIVATE" not in page and row.sealed not in page
    assert field(page, "narrow").startswith('restrict,command="/bin/sh ~/.remotejobs-gate/')
    assert field(page, "install").startswith("remotejobs install-gate --write --key 'ssh-ed25519 ")
    plain = field(page, "plain")
    press(phone, page, "try")
    page = phone.sees("did not let us in")
    assert "Its line has to stand in" in page and field(page, "plain") == plain, (
        "it can be pasted and tried again"
    )
    paste(account, plain)
    press(phone, page, "again")
    phone.sees("0 jobs")
    with app.app_context():
        server = db.session.scalars(db.select(Server)).one()
        assert not server.asks and db.session.scalars(db.select(Source)).one().confirmed_at
        said = list(db.session.execute(db.select(Audit.who, Audit.what).order_by(Audit.id)))
    assert [tuple(row) for row in said if "proved" not in row[1]] == [
        ("ada", "asked for a key"),
        ("ada", "asked to add a server"),
        ("remoteweb", "made a key"),
        ("ada", "asked to add a server"),
        ("remoteweb", "was let in by a new key"),
        ("ada", "added a server"),
    ]
    assert "Its key lets in" in phone.client.get("/servers/keys").text


def test_on_its_page_a_key_is_replaced_and_the_line_of_the_old_one_is_told_until_it_is_removed(
    app: Flask, account: Account, worker: Worker, phone: Phone, there: str
) -> None:
    phone.address = added(app, phone, account, there)
    old = lines(account).read_text().strip()
    page = press(phone, phone.sees("Its key lets in"), "rotate")
    page = phone.sees("A new key waits to be added there")
    assert states(app) == [IN_USE, MADE]
    new = field(page, "plain")
    paste(account, new)
    address = phone.address
    press(phone, page, "sign-in")
    phone.sees("0 jobs")
    assert states(app) == [REPLACED, IN_USE]
    phone.address = address
    page = phone.sees("Its key lets in")
    assert old.endswith(field(page, "gone")) and field(page, "plain") == new
    page = press(phone, page, "removed")
    assert "Take the line" not in page and states(app) == [IN_USE]


def test_on_its_page_a_key_is_revoked_and_says_which_line_to_remove(
    app: Flask, account: Account, worker: Worker, phone: Phone, there: str
) -> None:
    phone.address = added(app, phone, account, there)
    line = lines(account).read_text().strip()
    page = press(phone, phone.sees("Its key lets in"), "revoke")
    assert "Its key is gone" in page and line.endswith(field(page, "gone")) and states(app) == [REVOKED]
    with app.app_context():
        server_id = db.session.scalars(db.select(Server.id)).one()
        db.session.execute(db.update(Server).values(min_interval=0, last_try_at=0))
        db.session.commit()
    phone.client.post("/sync", data={"server": server_id})
    phone.address = "/servers"
    phone.sees("was revoked, and no other is there")
    page = press(phone, page, "removed")
    assert "None yet" in page
    phone.address = f"/servers/{server_id}/key"
    assert "Make a key" in phone.sees("Its private half is made by the sync worker")


def test_what_the_worker_cannot_make_is_said_on_the_page_and_can_be_asked_for_again(
    app: Flask, worker: Worker, phone: Phone
) -> None:
    path = state_folder() / sealing.FILE
    path.write_text("not a key")
    path.chmod(0o600)
    phone.add("me@alps.example.org", way="key")
    page = phone.sees("has to hold 32 random bytes")
    assert states(app) == [UNMADE] and "not a key" not in page
    path.unlink()
    with app.app_context():
        key_id = db.session.scalars(db.select(MadeKey.id)).one()
    login, phone.address = phone.address, f"/servers/keys/{key_id}"
    press(phone, phone.sees("has to hold 32 random bytes"), "again")
    phone.sees('id="plain"')
    phone.address = login
    phone.sees('id="plain"')


def test_without_a_key_there_is_nothing_to_be_tried(
    app: Flask, sshd: Sshd, worker: Worker, there: str
) -> None:
    """An administrator's login would go on with whatever key this program's user has."""
    phone = Phone(people.browser(app, FIRST))
    path = state_folder() / sealing.FILE
    path.write_text("not a key")
    path.chmod(0o600)
    phone.add(there, way="key")
    phone.sees("has to hold 32 random bytes")
    with sshd.counting() as counted:
        assert "There is no key to be tried" in phone.press("try").text
        with app.app_context():
            assert db.session.scalars(db.select(Login.state)).one() == "own_key"
            db.session.execute(db.delete(MadeKey))
            db.session.commit()
        assert "There is no key to be tried" in phone.press("try").text
    assert counted.connections == 0


def test_without_a_worker_the_page_waits_and_says_what_is_missing(app: Flask, phone: Phone) -> None:
    phone.add("me@alps.example.org", way="key")
    page = phone.sees("The sync worker makes a key")
    assert 'id="try"' not in page
    assert "not made yet" in phone.press("try").text
    with app.app_context():
        assert db.session.scalars(db.select(Login.state)).one() == "own_key"
        db.session.execute(db.update(MadeKey).values(asked_at=time.time() - 20))
        db.session.commit()
    phone.sees("Is it running?")


def test_a_poll_of_a_key_gets_nothing_until_it_is_made(app: Flask, phone: Phone) -> None:
    phone.add("me@alps.example.org", way="key")
    login = phone.client.get(phone.address).text
    with app.app_context():
        address = f"/servers/keys/{db.session.scalars(db.select(MadeKey.id)).one()}"
    key = phone.client.get(address).text
    watched = [
        unescape(found) for page in (login, key) for found in re.findall(r'hx-get="([^"]+/watch[^"]+)"', page)
    ]
    assert len(watched) == 2
    htmx = {"HX-Request": "true"}
    assert [phone.client.get(one, headers=htmx).status_code for one in watched] == [204, 204]
    with app.app_context():
        key_making.make_wanted()
    assert all('id="plain"' in phone.client.get(one, headers=htmx).text for one in watched)
    assert "/watch" not in phone.client.get(address).text, "it is asked for no more"


def test_what_is_done_to_a_key_takes_a_fresh_proof(app: Flask, phone: Phone) -> None:
    phone.add("me@alps.example.org", way="key")
    with app.app_context():
        key_making.make_wanted()
        key_id = db.session.scalars(db.select(MadeKey.id)).one()
        db.session.execute(db.update(Session).values(proved_at=0.0))
        db.session.commit()
    for verb in ("rotate", "revoke", "again"):
        assert "/proof" in phone.client.post(f"/servers/keys/{key_id}/{verb}").location
    assert states(app) == [MADE]


def test_two_taps_at_once_ask_for_one_key(app: Flask, ada: int) -> None:
    at = made_keys.At(ada, "me", "alps.example.org", 22)
    with app.app_context():
        first = made_keys.ask(at, "ada").id
        db.session.commit()
        assert made_keys.ask(at, "ada").id == first
        db.session.rollback()
    assert states(app) == ["wanted"]


def test_the_end_of_a_kept_connection_comes_with_the_revocation(
    app: Flask, account: Account, worker: Worker, phone: Phone, there: str, home: Path
) -> None:
    phone.address = added(app, phone, account, there)
    with app.app_context():
        db.session.execute(db.update(Server).values(kept_until=time.time() + 3600, kept_by="elsewhere:1:x"))
        db.session.commit()
    press(phone, phone.client.get(phone.address).text, "revoke")

    def is_let_go() -> bool:
        with app.app_context():
            return db.session.scalars(db.select(Server.kept_until)).one() == 0.0

    eventually(is_let_go)
