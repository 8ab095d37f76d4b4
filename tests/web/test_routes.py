"""A walk over the URL map: each route with nobody, an ended session, another's objects, a guest, a foreign page."""

import hashlib
from typing import Any, NamedTuple

import pytest
from flask import Flask
from flask.testing import FlaskClient
from web import rows
from web.people import account, browser
from web.routes import RULES

from remoteweb import actions, hostkeys, logins, made_keys
from remoteweb.access import OPEN
from remoteweb.accounts import Account, HostKey, Passkey, Session
from remoteweb.database import Base, begin_writing, db
from remoteweb.rights import GUESTS_MAY, OWN_ACCOUNT
from remoteweb.wanted import Wanted

FORM = {"idem_key": "a-key-of-a-button", "seen": "1"}
# What may differ although nothing was done: when a browser was last seen.
MOVES = {("session", "seen_at")}


class Request(NamedTuple):
    endpoint: str
    method: str
    path: str

    @property
    def rules(self) -> frozenset[str]:
        return RULES[self.endpoint]

    def by(self, client: FlaskClient, **options: Any) -> Any:
        form = {"data": FORM} if self.method == "POST" else {}
        return client.open(self.path, method=self.method, buffered=True, **form, **options)


# What was to end is not there, whoever ended it.
ENDS_EITHER_WAY = {"access.end_session", "access.remove_passkey", "servers.key_removed"}


def requests(app: Flask, objects: dict[str, object]) -> list[Request]:
    """Every route with every method. An argument that is not among `objects` is a KeyError: a new route needs one."""
    made, urls = [], app.url_map.bind("localhost")
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            values = {name: objects[name] for name in rule.arguments}
            for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
                made.append(Request(rule.endpoint, method, urls.build(rule.endpoint, values, method)))
    return made


@pytest.fixture
def ada(app: Flask) -> int:
    return account(app, "ada")


@pytest.fixture
def objects(app: Flask, ada: int) -> dict[str, object]:
    """Something of ada's for every kind of argument."""
    return things_of(app, ada)


def things_of(app: Flask, owner_id: int) -> dict[str, object]:
    browser(app, owner_id)
    with app.app_context():
        source = rows.source(rows.server(owner_id=owner_id))
        job = rows.job(source, "a-job")
        action = actions.ask(job, "cancel", f"key-of-{owner_id}", job.revision)
        wanted = Wanted("me", "new.example.org", 22, "app", "", 0.0)
        login = logins.begin(owner_id, wanted, "somebody")
        line = f"new.example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}"
        hostkeys.accept(owner_id, line, "somebody")
        db.session.commit()
        key_id = db.session.scalar(db.select(HostKey.id).where(HostKey.owner_id == owner_id))
        login_id = login.id
        begin_writing()
        made = made_keys.ask(made_keys.At(owner_id, "me", "alps.example.org", 22), "somebody")
        passkey = Passkey(
            account_id=owner_id,
            host="localhost",
            credential_id=f"c{owner_id}",
            public_key="k",
            created_at=1.0,
        )
        db.session.add(passkey)
        db.session.commit()
        return {
            "job_id": job.id,
            "source_id": source.id,
            "server_id": source.server_id,
            "uuid": action.uuid,
            "session_id": db.session.scalars(
                db.select(Session.id).where(Session.account_id == owner_id)
            ).first(),
            "account_id": owner_id,
            "passkey_id": passkey.id,
            "login_id": login_id,
            "key_id": key_id,
            "made_id": made.id,
            "token": "no-such-token",
            "filename": "app.css",
        }


# A refusal is noted, which is all that it does.
NOTES = {"audit": "what <> 'was refused'", "counter": "name <> 'audit'", "refusal": "1 = 0"}


def fingerprint(app: Flask) -> dict[str, str]:
    """Of each table's rows, but for what MOVES and NOTES."""
    prints = {}
    with app.app_context(), db.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            columns = [column for column in table.columns if (table.name, column.name) not in MOVES]
            rest = db.text(NOTES.get(table.name, "1 = 1"))
            found = sorted(map(repr, connection.execute(db.select(*columns).where(rest))))
            prints[table.name] = hashlib.sha256("\n".join(found).encode()).hexdigest()
    return prints


def test_every_route_has_its_rules_and_the_lists_of_the_program_say_the_same(app: Flask) -> None:
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()}
    assert sorted(endpoints - RULES.keys()) == []
    assert {name for name in RULES if "open" in RULES[name]} == OPEN
    guests = {name for name in endpoints if "guests" in RULES[name]}
    assert {name for name in guests if not name.startswith(OWN_ACCOUNT)} == GUESTS_MAY


def test_a_stranger_and_an_ended_session_get_nowhere(
    app: Flask, objects: dict[str, object], ada: int
) -> None:
    disabled = account(app, "gone")
    visitors = {
        "nobody": app.test_client(),
        "expired": browser(app, ada, expires_at=1.0),
        "idle": browser(app, ada, seen_at=1.0, idle=60.0),
        "disabled": browser(app, disabled),
        "made up": app.test_client(),
    }
    visitors["made up"].set_cookie("remoteweb", "A" * 43)
    with app.app_context():
        begin_writing()
        db.session.get_one(Account, disabled).disabled_at = 1.0
        db.session.commit()
    before = fingerprint(app)
    for one in requests(app, objects):
        if "open" in one.rules:
            continue
        for who, visitor in visitors.items():
            answer = one.by(visitor, headers={"Sec-Fetch-Site": "same-origin"})
            assert answer.status_code == 401, (one, who)
            assert "a-job" not in answer.text
    assert fingerprint(app) == before


@pytest.mark.parametrize("role", ["user", "administrator"])
def test_another_accounts_objects_are_not_there(app: Flask, objects: dict[str, object], role: str) -> None:
    """Nor for an administrator, who may manage accounts and not act on their jobs."""
    other = browser(app, account(app, "bob", role))
    absent = {name: "0" * 20 if isinstance(value, str) else 999_999 for name, value in objects.items()}
    absent["uuid"] = "00000000-0000-4000-8000-000000000000"
    before = fingerprint(app)
    for one, nowhere in zip(requests(app, objects), requests(app, absent), strict=True):
        if "object" not in one.rules:
            continue
        for headers in ({}, {"HX-Request": "true"}):
            answer, known = one.by(other, headers=headers), nowhere.by(other, headers=headers)
            assert answer.status_code in ((303, 404) if one.endpoint in ENDS_EITHER_WAY else (404,)), one
            assert (answer.status_code, answer.text) == (known.status_code, known.text), one
        assert fingerprint(app) == before, one


def test_what_is_an_administrators_is_not_there_for_anybody_else(
    app: Flask, objects: dict[str, object], ada: int
) -> None:
    guest = browser(app, account(app, "grace", "guest", guest_of=1))
    before = fingerprint(app)
    for one in requests(app, objects):
        if "administrator" in one.rules:
            for who in (browser(app, ada), guest):
                assert one.by(who).status_code == 404, one
    assert {name: value for name, value in fingerprint(app).items() if name != "session"} == {
        name: value for name, value in before.items() if name != "session"
    }


def test_a_guest_gets_no_further_than_looking(app: Flask, objects: dict[str, object], ada: int) -> None:
    guest = browser(app, account(app, "grace", "guest", guest_of=ada))
    before = fingerprint(app)
    for one in requests(app, objects):
        if one.rules & {"open", "administrator"}:
            continue
        if "guests" not in one.rules:
            assert one.by(guest).status_code == 403, one
            assert fingerprint(app) == before, one
        elif one.method == "GET":
            assert one.by(guest).status_code in (200, 303, 404), one


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Origin": "http://evil.localhost"},
    {"Origin": "http://localhost:8001"},
    {"Origin": "null"},
    {},
]


def test_a_foreign_page_changes_nothing(app: Flask, objects: dict[str, object], ada: int) -> None:
    """With the cookie, ada's own objects and a fresh proof: all is right but for where it comes from."""
    signed_in = browser(app, ada)
    del signed_in.environ_base["HTTP_SEC_FETCH_SITE"]
    before = fingerprint(app)
    for one in requests(app, objects):
        if one.method == "GET":
            continue
        for said in FOREIGN:
            for more in ({}, {"HX-Request": "true"}):
                assert one.by(signed_in, headers={**said, **more}).status_code == 403, (one, said)
    assert fingerprint(app) == before


def test_what_asks_for_a_fresh_proof_does_nothing_without(app: Flask, objects: dict[str, object]) -> None:
    administrator = browser(app, 1, proved_at=1.0)
    before = fingerprint(app)
    for one in requests(app, objects):
        answer = one.by(administrator) if "proof" in one.rules else None
        if answer is not None:
            assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (303, "/proof"), one
    assert fingerprint(app) == before


def test_a_get_changes_nothing(app: Flask, ada: int) -> None:
    own = things_of(app, 1)
    for who in (browser(app, 1), app.test_client()):
        before = fingerprint(app)
        for one in requests(app, own):
            if one.method == "GET":
                for method in ("GET", "HEAD", "OPTIONS"):
                    for headers in ({}, {"HX-Request": "true", "HX-Request-Type": "partial"}):
                        answer = who.open(one.path, method=method, headers=headers, buffered=True)
                        assert answer.status_code < 500, one
                assert fingerprint(app) == before, one


def test_a_method_that_a_route_does_not_know_is_refused(
    app: Flask, objects: dict[str, object], ada: int
) -> None:
    signed_in, known = browser(app, ada), {}
    for one in requests(app, objects):
        known.setdefault(one.path, set()).add(one.method)
    before = fingerprint(app)
    for path, methods in known.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"} - methods:
            assert signed_in.open(path, method=method, buffered=True).status_code in (400, 404, 405), (
                path,
                method,
            )
    assert fingerprint(app) == before
