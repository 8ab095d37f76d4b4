"""Beginning a login: at a server that is to be added, or at one that needs somebody; and ending a kept one."""

from flask import abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from remotejobs.errors import BadInput
from remoteweb import audit, kept, logins, made_keys, viewer
from remoteweb.access import proof
from remoteweb.database import db
from remoteweb.made_keys import At
from remoteweb.models import Server
from remoteweb.servers import bp
from remoteweb.sources import DEFAULT_APP
from remoteweb.wanted import KEEP_CHOICES, Wanted, keep_choice
from remoteweb.ways import IN_USE, OWN_KEY, WAITING, Login

MAX_TYPED = 1000  # of one field


@bp.get("/add")
@proof.required
def add() -> str:
    return _form({"app": DEFAULT_APP, "server": request.args.get("server", "")[:MAX_TYPED]})


@bp.post("/add")
@proof.required
def added() -> str | Response | tuple[str, int]:
    fields = ("server", "app", "jumps", "keep", "way")
    typed = {name: request.form.get(name, "")[:MAX_TYPED] for name in fields}
    try:
        wanted = Wanted.of_form(typed["server"], typed["app"], typed["jumps"], typed["keep"])
        login = logins.begin(*_by_whom(wanted, with_own_key=typed["way"] == "key"))
    except (BadInput, logins.TooMany) as error:
        return _form(typed, str(error)), 400
    return _begun_to_add(login)


def _by_whom(wanted: Wanted, *, with_own_key: bool) -> tuple[int, Wanted, str, str]:
    """A login that waits, where the server has to be told of a new key first, until the person says that it was."""
    who = viewer.current()
    if not with_own_key:
        return who.owner_id, wanted, who.name, WAITING
    key = made_keys.ask(At(who.owner_id, wanted.user, wanted.host, wanted.port), who.name)
    return who.owner_id, wanted, who.name, WAITING if key.state == IN_USE else OWN_KEY


@bp.post("/<int(max=2147483647):server_id>/sign-in")
def sign_in(server_id: int) -> Response:
    server = _mine(server_id)
    keep = keep_choice(request.form.get("keep", f"{server.keep_seconds:.0f}"))
    return _begun(logins.begin_at(server, keep, viewer.current().name))


@bp.post("/<int(max=2147483647):server_id>/sign-out")
def sign_out(server_id: int) -> Response:
    server = _mine(server_id)
    flash(f"Signed out of {server.label}. The open connection is being closed.")
    kept.let_go(server.id)
    return redirect(url_for("sync.servers"), 303)


@bp.post("/logins/<int(max=2147483647):login_id>/again")
def again(login_id: int) -> Response:
    """As it was asked for the first time: what adds a server needs a fresh proof each time."""
    before = logins.of(viewer.current().owner_id, login_id) or abort(404)
    if before.app and not proof.is_fresh():
        return proof.ask()
    wanted = Wanted(before.user, before.host, before.port, before.app, before.way, before.keep_seconds)
    login = logins.begin(before.owner_id, wanted, viewer.current().name)
    return _begun_to_add(login) if login.app else _begun(login)


@bp.errorhandler(logins.OpenAlready)
def _goes_on(already: logins.OpenAlready) -> Response:
    """One at a time for each server: whoever begins another is led to it."""
    return to_login(already.login)


def to_login(login_id: int) -> Response:
    return redirect(url_for("servers.login", login_id=login_id), 303)


def _begun_to_add(login: Login) -> Response:
    audit.note("asked to add a server", f"{login.user}@{login.host}:{login.port}", login.app)
    return _begun(login)


def _begun(login: Login) -> Response:
    login_id = login.id
    db.session.commit()
    return to_login(login_id)


def _mine(server_id: int) -> Server:
    server = db.session.get(Server, server_id)
    if server is None or server.owner_id != viewer.current().owner_id or server.is_local:
        abort(404, "There is no such server here.")
    return server


def _form(typed: dict[str, str], refusal: str = "") -> str:
    return render_template("servers/add.html", typed=typed, refusal=refusal, choices=KEEP_CHOICES)
