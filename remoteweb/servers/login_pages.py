"""The page of one login: how it goes, what it waits for, and the person's part in it."""

import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
from flask import Response as Answer
from flask import abort, current_app, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from remotejobs.destination import Destination
from remotejobs.errors import RemoteJobsError
from remotejobs.prompts import MAX_ANSWER, MAX_QUESTIONS
from remoteweb import audit, handover, logins, viewer
from remoteweb.access import proof
from remoteweb.database import db
from remoteweb.hostkeys import KeyLine
from remoteweb.made_keys import At
from remoteweb.servers import bp
from remoteweb.servers.adding import to_login
from remoteweb.servers.key_pages import KeysView, keys_at
from remoteweb.untrusted import line
from remoteweb.ways import (
    CONNECTING,
    DONE,
    ENDED,
    FAILED,
    HOST_KEY,
    OWN_KEY,
    SYNCING,
    WAITING,
    WITH_A_WORKER,
    Login,
    Question,
)

# After so long, nobody seems to take what waits.
LATE_SECONDS = 15.0
NOT_IN_TIME = "That came too late: it is not waited for any more. See below how the login went on."

WORDS = {
    WAITING: "Waiting for the sync worker.",
    CONNECTING: "Connecting.",
    SYNCING: "Signed in. Reading its jobs.",
    HOST_KEY: "Waits for you to compare the host key.",
    OWN_KEY: "Waits for you to add its key there.",
}
ASKS = {
    "code": "Waits for your code.",
    "password": "Waits for your password.",
    "passphrase": "Waits for the passphrase of a key.",
}
APPROVAL = "Waits for you to approve it elsewhere."


@dataclass(frozen=True, slots=True)
class Asked:
    """One field of the form; its words are the server's own."""

    text: str
    echo: bool


@dataclass(frozen=True, slots=True)
class LoginView:
    """A login as a page shows it. `version` moves with all that it shows; `rhythm`: seconds until it may have moved, 0: never."""

    id: int
    label: str
    state: str
    sentence: str
    app: str
    version: str
    rhythm: int
    key: KeyLine | None = None
    key_line: str = ""
    key_server: str = ""
    keys: KeysView | None = None  # that were made here for it, while the server has not taken one
    question: Question | None = None
    asked: list[Asked] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.state not in (DONE, FAILED, ENDED)


def view_of(login: Login) -> LoginView:
    """Nothing is written for a look: what goes on no more is shown as that, and noted by the next who writes."""
    if why := logins.why_stale(login):
        return LoginView(login.id, _label(login), FAILED, why, login.app, f"{login.changed_at:.6f}-stale", 0)
    question = logins.question_of(login)
    asked = msgspec.json.decode(question.questions, type=list[Asked]) if question else []
    sentence, keys = _sentence(login, question, asked), _keys(login)
    return LoginView(
        login.id,
        _label(login),
        login.state,
        sentence,
        login.app,
        f"{login.changed_at:.6f}-{len(sentence)}" + (f"-{keys.version}" if keys else ""),
        _rhythm(login) or (keys.rhythm if keys else 0),
        KeyLine.parse(login.key_line) if login.key_line else None,
        login.key_line,
        login.key_server,
        keys,
        question,
        asked,
    )


def _label(login: Login) -> str:
    return line(Destination(login.host, login.port, login.user))


def _sentence(login: Login, question: Question | None, asked: list[Asked]) -> str:
    if login.state == WAITING and time.time() > login.changed_at + LATE_SECONDS:
        return "Waiting for the sync worker. Is it running?"
    if question is not None:
        return ASKS.get(question.kind, "Waits for you.") if asked else APPROVAL
    return WORDS.get(login.state, login.sentence)


def _keys(login: Login) -> KeysView | None:
    """Where a line may have to be added at the server, before it is tried or because it was refused."""
    if login.state not in (OWN_KEY, FAILED):
        return None
    keys = keys_at(At.of(login))
    return keys if keys and (login.state == OWN_KEY or (keys.new and not login.key_line)) else None


def _rhythm(login: Login) -> int:
    return 1 if login.state in (WAITING, *WITH_A_WORKER) else 0


def of_viewer() -> list[LoginView]:
    """What the page of the servers shows of them."""
    who = viewer.current()
    if who.is_guest:
        return []
    return [view_of(login) for login in logins.shown(who.owner_id)]


bp.add_app_template_global(of_viewer, "logins_shown")


@bp.get("/logins/<int(max=2147483647):login_id>")
def login(login_id: int) -> str:
    return render_template("servers/login.html", login=view_of(_mine(login_id)))


@bp.get("/logins/<int(max=2147483647):login_id>/watch")
def watch(login_id: int) -> str | Response:
    """What the page asks while something moves: nothing, or the whole of it anew. What is being typed stays meanwhile."""
    view = view_of(_mine(login_id))
    if "HX-Request" not in request.headers:
        return to_login(login_id)
    if view.version == request.args.get("seen"):
        return Answer(status=204)
    return render_template("servers/_login.html", login=view)


@bp.post("/logins/<int(max=2147483647):login_id>/accept")
@proof.required
def accept(login_id: int) -> Response:
    """The very key that the page showed, once a person has compared it."""
    return _accept(login_id, besides=False)


@bp.post("/logins/<int(max=2147483647):login_id>/accept-besides")
@proof.required
def accept_besides(login_id: int) -> Response:
    """A second step on purpose: the name stands for several machines, and the keys of the others stay."""
    _mine(login_id)
    if "several" not in request.form:
        flash("Nothing was accepted: say first that the name stands for several machines.")
        return to_login(login_id)
    return _accept(login_id, besides=True)


def _accept(login_id: int, *, besides: bool) -> Response:
    found, who = _mine(login_id), viewer.current()
    try:
        shown_line = request.form.get("line", "")
        key = logins.accept_key(found, who.name, shown_line, besides=besides)
    except RemoteJobsError as error:
        db.session.rollback()
        flash(str(error))
        return to_login(login_id)
    how = "besides others of that name" if besides else ""
    audit.note("accepted a host key", f"{key.name} {key.type} {key.fingerprint}", how)
    db.session.commit()
    return to_login(login_id)


@bp.post("/logins/<int(max=2147483647):login_id>/try")
def try_key(login_id: int) -> Response:
    """The line of a key that was made for it stands there now, says the person."""
    found = _mine(login_id)
    keys = keys_at(At.of(found))
    if keys and keys.coming:
        flash("The key is not made yet.")
    elif keys and (keys.new or keys.in_use):
        logins.go_on(found)
        db.session.commit()
    else:  # the login would go on with whatever else may let in
        flash("There is no key to be tried: it could not be made, or is gone. Give this up, and begin again.")
    return to_login(login_id)


@bp.post("/logins/<int(max=2147483647):login_id>/answer")
def answer(login_id: int) -> Response:
    """From this process's memory to the worker's: nothing of it is stored, logged or shown again."""
    question = logins.question_of(_mine(login_id))
    token = request.form.get("token", "")
    if question is None or question.token != token:
        flash(NOT_IN_TIME)
        return to_login(login_id)
    count = len(msgspec.json.decode(question.questions, type=list[Any]))
    typed = [request.form.get(f"answer-{number}", "") for number in range(count)]
    if count > MAX_QUESTIONS or any(len(text) > MAX_ANSWER for text in typed):
        abort(413)
    name = question.socket
    db.session.rollback()  # nothing of the database is held meanwhile
    try:
        if not handover.hand_over(handover.folder_of(current_app), name, token, typed):
            flash(NOT_IN_TIME)
    except handover.WorkerGone as gone:
        flash(str(gone))
    return to_login(login_id)


@bp.post("/logins/<int(max=2147483647):login_id>/give-up")
def give_up(login_id: int) -> Response:
    logins.give_up(_mine(login_id))
    db.session.commit()
    return redirect(url_for("sync.servers"), 303)


def _mine(login_id: int) -> Login:
    return logins.of(viewer.current().owner_id, login_id) or abort(
        404, "There is no such login here any more."
    )
