"""Accounts as they are made, invited and shut out, by commands and on the administrator's page."""

import contextlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import Result
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from flask import Flask
from web import rows
from web.signing_in import PASSWORD, browser, is_in, make, quick_hashes, said, sign_in  # noqa: F401
from web.terminals import ROOT, Terminal, environment

from remoteweb import access, actions, logins, sources
from remoteweb.access import entry, people, recovery, throttle, totp
from remoteweb.accounts import FIRST, Account, Audit, Entry
from remoteweb.database import begin_writing, db
from remoteweb.models import Action, Server
from remoteweb.wanted import Wanted
from remoteweb.ways import Login


def command(app: Flask, *words: str) -> Result:
    """`remoteweb WORDS`, without a terminal."""
    return app.test_cli_runner().invoke(args=words)


def link_in(text: str) -> str:
    match = re.search(r"http\S+/invited/[\w-]{43}", text)
    assert match, text
    return match[0]


def accounts(app: Flask) -> dict[str, tuple[int, str]]:
    with app.app_context():
        return {one.name: (one.id, one.role) for one in db.session.scalars(db.select(Account))}


def test_a_first_start_has_one_administrator_and_no_password(app: Flask) -> None:
    assert accounts(app) == {"admin": (FIRST, "administrator")}
    for password in ("", "admin", "password"):
        assert sign_in(browser(app), "admin", password).status_code == 401
    with app.app_context():
        assert not people.can_anybody_sign_in()


def test_who_is_made_first_is_the_administrator_and_has_what_the_terminal_has(app: Flask) -> None:
    made = command(app, "create-user", "Ada", "--invite")
    assert made.exit_code == 0, made.output
    assert (
        "ada is the administrator, and has what was and will be added on this machine's terminal."
        in made.stdout
    )
    assert link_in(made.stdout)
    assert accounts(app) == {"ada": (FIRST, "administrator")}
    second = command(app, "create-user", "bob")
    assert "bob is a user." in second.stdout and link_in(second.stdout)
    assert accounts(app)["bob"] == (2, "user")


def test_where_somebody_came_in_by_a_link_the_next_account_is_another(app: Flask) -> None:
    with app.app_context():
        link = access.new_link("http://localhost")
    browser(app).get(link)
    make(app, "bob", password="")
    assert accounts(app) == {"admin": (FIRST, "administrator"), "bob": (2, "user")}


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", "ä", "a/b", "a" * 65, "<script>", "a\x00"])
def test_a_name_that_cannot_be_one_is_refused(app: Flask, name: str) -> None:
    with app.app_context(), pytest.raises(people.Refused, match="A name has"):
        people.create(name)


def test_the_command_says_what_it_refuses(app: Flask) -> None:
    make(app, "ada")
    assert command(app, "create-user", "ada").stderr == "Error: There is an account ada already.\n"
    assert command(app, "invite", "eve").stderr.startswith(
        "Error: There is no account eve. `remoteweb users` lists them."
    )
    assert "is the only administrator" in command(app, "disable-user", "ada").stderr
    assert "typed on a terminal" in command(app, "set-password", "ada").stderr


def test_a_password_is_asked_for_twice_on_the_terminal_and_never_shown(app: Flask) -> None:
    terminal, shown = Terminal("create-user", "ada"), ""
    for prompt, typed in (
        ("Password", "short"),
        ("at least 12 characters", PASSWORD),
        ("Once more", "something else"),
        ("not the same", PASSWORD),
        ("Once more", PASSWORD),
    ):
        terminal.expect(prompt)
        if "Once" not in prompt:
            terminal.expect("Password (")
        shown, terminal.shown = shown + terminal.shown, ""
        terminal.type(typed + "\n")
    assert terminal.end() == 0
    assert "ada is the administrator" in terminal.shown and PASSWORD not in shown + terminal.shown
    assert sign_in(browser(app), "ada").status_code == 303


def test_on_a_terminal_an_invitation_is_also_a_picture_for_a_phone(app: Flask) -> None:
    make(app, "ada", password="")
    terminal = Terminal("invite", "ada")
    assert terminal.end() == 0
    shown = terminal.shown
    assert link_in(shown) and shown.count("█") > 50
    assert "█" not in command(app, "invite", "ada").stdout


def invitation(app: Flask, name: str = "ada") -> str:
    with app.app_context():
        return "/" + entry.new_invitation(people.named(name), "http://localhost").partition("localhost/")[2]


def test_an_invitation_is_looked_at_by_anybody_and_used_once_by_its_button(app: Flask) -> None:
    make(app, "ada", password="")
    path = invitation(app)
    for _ in range(3):  # a preview of a chat, a scanner of mails
        preview = browser(app)
        assert preview.get(path).status_code == 200
        assert "Set-Cookie" not in preview.get(path).headers and not is_in(preview)
    phone = browser(app)
    answer = phone.post(path)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/account/passkey")
    assert is_in(phone)
    assert phone.get("/account/password").status_code == 200  # and it counts as a proof
    assert browser(app).post(path).status_code == browser(app).get(path).status_code == 404


@pytest.mark.parametrize("path", ["/invited/x", "/invited/" + "A" * 43, "/invited/%00", "/invited/%ff"])
def test_an_invitation_that_never_was_is_like_one_that_was_used(app: Flask, path: str) -> None:
    make(app, "ada", password="")
    used = invitation(app)
    browser(app).post(used)
    answers = [browser(app).get(one).text for one in (path, used)]
    assert "does not let you in any more" in answers[0] and answers[0] == answers[1]


def test_an_invitation_is_over_after_a_day_and_when_there_is_a_newer_one(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(app, "ada", password="")
    first, second = invitation(app), invitation(app)
    assert [browser(app).get(path).status_code for path in (first, second)] == [404, 200]
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86401)
    assert browser(app).post(second).status_code == 404


def test_a_link_is_no_invitation_and_an_invitation_no_link(app: Flask) -> None:
    make(app, "ada", password="")
    with app.app_context():
        link = access.new_link("http://localhost").rpartition("/")[2]
    token = invitation(app).rpartition("/")[2]
    assert browser(app).post(f"/invited/{link}").status_code == 404
    assert browser(app).get(f"/enter/{token}").status_code == 401
    with app.app_context():
        kept = " ".join(db.session.scalars(db.select(Entry.digest)))
    assert token not in kept


def test_shutting_an_account_out_ends_its_browsers_and_its_invitations(app: Flask) -> None:
    make(app, "ada")
    make(app, "bob")
    path, bob = invitation(app, "bob"), browser(app)
    sign_in(bob, "bob")
    assert command(app, "disable-user", "bob").exit_code == 0
    assert not is_in(bob) and sign_in(browser(app), "bob").status_code == 401
    assert browser(app).get(path).status_code == 404
    assert command(app, "enable-user", "bob").exit_code == 0
    assert not is_in(bob) and sign_in(browser(app), "bob").status_code == 303
    assert browser(app).get(path).status_code == 404


def test_with_an_account_its_guests_are_shut_out(app: Flask) -> None:
    make(app, "ada")
    bob = make(app, "bob")
    make(app, "grace", role="guest", guest_of=bob)
    path, grace = invitation(app, "grace"), browser(app)
    sign_in(grace, "grace")
    assert is_in(grace)
    command(app, "disable-user", "bob")
    assert not is_in(grace) and sign_in(browser(app), "grace").status_code == 401
    assert browser(app).get(path).status_code == browser(app).post(path).status_code == 404
    command(app, "enable-user", "bob")
    assert sign_in(browser(app), "grace").status_code == 303
    assert browser(app).post(path).status_code == 303


def test_nothing_is_done_any_more_for_an_account_that_is_shut_out(app: Flask) -> None:
    make(app, "ada")
    bob = make(app, "bob")
    with app.app_context():
        hers = rows.job(rows.source(rows.server()), "hers")
        his = rows.job(rows.source(rows.server(owner_id=bob)), "his")
        under_way = rows.job(his.source, "under-way")
        asked = {
            job.name: actions.ask(job, "cancel", f"k-{job.name}", 1).id for job in (hers, his, under_way)
        }
        db.session.execute(
            db.update(Action).where(Action.id == asked["under-way"]).values(state="sending", tries=1)
        )
        db.session.commit()
        for owner in (1, bob):
            logins.begin(owner, Wanted("me", "new.example.org", 22, "app", "", 0.0), "somebody")
            db.session.commit()
    assert command(app, "disable-user", "bob").exit_code == 0
    with app.app_context():
        after = {name: db.session.get_one(Action, one) for name, one in asked.items()}
        states = {name: action.state for name, action in after.items()}
        assert states == {"hers": "waiting", "his": "withdrawn", "under-way": "sending"}
        assert after["his"].outcome == "Withdrawn: the account was shut out."
        ends = {row.owner_id: row.state for row in db.session.scalars(db.select(Login))}
        assert ends == {1: "waiting", bob: "ended"}
        assert [server.owner_id for server in sources.with_sources_of_everybody()] == [1]
    command(app, "enable-user", "bob")
    with app.app_context():
        assert [server.owner_id for server in sources.with_sources_of_everybody()] == [1, bob]


def test_who_has_lost_everything_is_let_in_by_the_shell_alone(app: Flask) -> None:
    make(app, "ada")
    phone = browser(app)
    sign_in(phone, "ada")
    codes = re.findall(r"<code>([a-z2-7-]{19})</code>", phone.post("/account/recovery-codes").text)
    reset = command(app, "reset-sign-in", "ada")
    assert not is_in(phone)
    assert [sign_in(browser(app), "ada", word).status_code for word in (PASSWORD, codes[0])] == [401, 401]
    path = "/invited/" + link_in(reset.stdout).rpartition("/")[2]
    assert browser(app).post(path).status_code == 303


def test_users_are_listed_with_how_they_come_in(app: Flask) -> None:
    ada = make(app, "ada")
    make(app, "guest", password="", role="guest", guest_of=ada)
    lines = [line.split(maxsplit=1) for line in command(app, "users").stdout.splitlines()]
    assert [(name, re.sub(r"\s{2,}", ": ", rest)) for name, rest in lines] == [
        ("ada", "administrator: password"),
        ("guest", "guest of ada: only by link or invitation"),
    ]


def test_an_administrator_invites_and_shuts_out_on_the_page(app: Flask) -> None:
    make(app, "ada")
    ada = browser(app)
    sign_in(ada, "ada")
    answer = ada.post("/users", data={"name": "bob", "role": "user"})
    path = "/invited/" + link_in(answer.text).rpartition("/")[2]
    assert path.rpartition("/")[2] not in ada.get("/users").text
    bob = browser(app)
    assert bob.post(path).status_code == 303
    ada.post("/users/2/disable")
    assert not is_in(bob)
    ada.post("/users/1/disable")
    assert "your own account" in ada.get("/users").text and is_in(ada)
    ada.post("/users", data={"name": "eve", "role": "guest"})
    assert accounts(app)["eve"][1] == "guest"
    assert said(ada.post("/users", data={"name": "bob"})) == "There is an account bob already."
    with app.app_context():
        whats = [
            (one.who, one.what, one.subject)
            for one in db.session.scalars(db.select(Audit).order_by(Audit.id))
        ]
    assert ("ada", "invited", "bob") in whats and ("ada", "disabled the account", "bob") in whats


@pytest.mark.parametrize("role", ["user", "guest"])
@pytest.mark.parametrize(
    "path", ["/users", "/users/1/invite", "/users/1/disable", "/users/1/enable", "/users/9/invite"]
)
def test_nobody_but_an_administrator_comes_near_the_accounts(app: Flask, role: str, path: str) -> None:
    ada = make(app, "ada")
    make(app, "eve", role=role, guest_of=ada if role == "guest" else None)
    eve = browser(app)
    sign_in(eve, "eve")
    assert eve.get("/users").status_code in (403, 404)
    assert eve.post(path, data={"name": "more", "role": "user"}).status_code in (403, 404)
    assert set(accounts(app)) == {"ada", "eve"}


HAMMER = """
import sys
from remoteweb import create_app
from remoteweb.access import throttle
app = create_app()
with app.app_context():
    sys.stdin.readline()
    print(sum(throttle.take("door", throttle.Limit(25, 900.0)) == 0.0 for _ in range(25)))
"""


def test_two_processes_together_let_no_more_through_than_one(app: Flask, tmp_path: Path) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER], cwd=ROOT, env=environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    for one in both:
        one.stdin.write("go\n")  # type: ignore[union-attr]
        one.stdin.flush()  # type: ignore[union-attr]
    assert sum(int(one.communicate(timeout=60)[0]) for one in both) == 25
    with app.app_context():  # and a third one that starts afterwards finds none
        assert 800 < throttle.take("door", throttle.Limit(25, 900.0)) <= 900


def test_twenty_threads_at_once_get_as_many_tries_as_there_are(app: Flask) -> None:
    together = threading.Barrier(20)

    def one(_: int) -> bool:
        with app.app_context():
            together.wait(20)
            return throttle.take("gate", throttle.Limit(7, 900.0)) == 0.0

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(one, range(20))) == 7


def at_once(app: Flask, do: Callable[[], bool]) -> int:
    """How many of eight that come together succeed."""
    together = threading.Barrier(8)

    def one(_: int) -> bool:
        with app.app_context():
            together.wait(20)
            done = do()
            db.session.commit()
            return done

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(one, range(8)))


def test_what_counts_once_counts_once_for_eight_that_come_together(app: Flask) -> None:
    ada = make(app, "ada")
    secret = totp.new_secret()
    with app.app_context():
        begin_writing()
        code, *_ = recovery.make(ada)
        totp.keep(db.session.get_one(Account, ada), secret)
        db.session.commit()
    digits = TOTP(bytes.fromhex(secret), 6, SHA1(), 30).generate(int(time.time())).decode()  # noqa: S303
    token = invitation(app).rpartition("/")[2]
    assert at_once(app, lambda: recovery.use(ada, code)) == 1
    assert at_once(app, lambda: totp.use(db.session.get_one(Account, ada), digits)) == 1
    assert at_once(app, lambda: entry.use("invitation", token) is not None) == 1


def test_of_eight_that_make_one_account_at_once_seven_read_that_there_is_one(app: Flask) -> None:
    make(app, "ada")
    refusals = []

    def make_bob() -> bool:
        try:
            people.create("bob")
        except people.Refused as error:
            db.session.rollback()
            refusals.append(str(error))
            return False
        return True

    assert at_once(app, make_bob) == 1
    assert refusals == ["There is an account bob already."] * 7


def test_of_two_first_accounts_that_are_made_at_once_one_is_the_administrator(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    unclaimed, both = people._unclaimed, threading.Barrier(2)

    def slowly() -> Account | None:
        """Each has looked before the other writes, if they do not wait for each other."""
        found = unclaimed()
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(1)
        return found

    def make_one(name: str) -> tuple[int, str]:
        with app.app_context():
            made = people.create(name)
            return made.id, made.name

    monkeypatch.setattr(people, "_unclaimed", slowly)
    with ThreadPoolExecutor(2) as pool:
        made = sorted(pool.map(make_one, ("ada", "bob")))
    assert [id_ for id_, _ in made] == [FIRST, FIRST + 1]
    found = accounts(app)
    assert sorted(found) == ["ada", "bob"]
    assert {found[name] for _, name in made} == {(FIRST, "administrator"), (FIRST + 1, "user")}


def test_for_who_is_shut_out_nothing_is_synced_by_a_command_either(app: Flask) -> None:
    make(app, "ada")
    make(app, "bob")
    with app.app_context():
        people.disable(people.named("bob"))
    for more in ([], ["--dry-run"], ["my-app", "me@127.0.0.1:1"]):
        ended = command(app, "update-database", *more, "--owner", "bob")
        assert ended.exit_code == 1 and "bob is shut out, so nothing is synced" in ended.stderr
    with app.app_context():
        assert db.session.scalars(db.select(Server)).all() == []
    assert command(app, "update-database", "--owner", "ada", "--dry-run").exit_code == 0


def test_a_login_that_began_in_the_moment_of_shutting_out_is_not_carried_out(app: Flask) -> None:
    make(app, "ada")
    bob = make(app, "bob")
    with app.app_context():
        people.disable(people.named("bob"))
        login = logins.begin(bob, Wanted("me", "alps.example.org", 22, "app", "", 0), "bob").id
        db.session.commit()
        assert logins.waiting() == [] and not logins.take(login, "here:1:x")
        people.enable(people.named("bob"))
        assert logins.waiting() == [(login, bob)] and logins.take(login, "here:1:x")
