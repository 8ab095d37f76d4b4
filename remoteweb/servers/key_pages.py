"""The keys that are made for servers: which line to add there, how one is replaced or revoked, which line to take away.

Nothing here makes or opens a key: it is asked for, by a row that the sync worker takes.
"""

import time
from dataclasses import dataclass

from flask import Response as Answer
from flask import abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from remotejobs.errors import BadInput
from remoteweb import logins, made_keys, sources, viewer
from remoteweb.access import proof
from remoteweb.database import db
from remoteweb.key_lines import KeyLines
from remoteweb.made_keys import At
from remoteweb.models import Server
from remoteweb.servers import bp
from remoteweb.untrusted import line
from remoteweb.ways import IN_USE, MADE, UNMADE, WANTED, MadeKey

# After so long, nobody seems to take what waits.
LATE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class KeysView:
    """The keys of one login as a page shows them.

    `version` moves with what is shown; `rhythm`: seconds until it may have moved, 0: never.
    """

    at: At
    rows: list[MadeKey]

    @property
    def label(self) -> str:
        return line(self.at)

    def _one(self, *states: str) -> MadeKey | None:
        return next((row for row in self.rows if row.state in states), None)

    @property
    def coming(self) -> MadeKey | None:
        return self._one(WANTED)

    @property
    def new(self) -> MadeKey | None:
        return self._one(MADE)

    @property
    def in_use(self) -> MadeKey | None:
        return self._one(IN_USE)

    @property
    def unmade(self) -> MadeKey | None:
        return self._one(UNMADE)

    @property
    def gone(self) -> list[MadeKey]:
        return [row for row in self.rows if row.state in made_keys.GONE]

    @property
    def sentence(self) -> str:
        if self.coming:
            is_late = time.time() > self.coming.asked_at + LATE_SECONDS
            return (
                "Waiting for the sync worker. Is it running?" if is_late else "The sync worker makes a key."
            )
        if self.new and self.in_use:
            return "A new key waits to be added there. Until the server takes it, the one before it lets in."
        if self.new:
            return "Its key waits to be added there."
        if self.in_use:
            return "Its key lets in."
        return line(self.unmade.sentence, 600) if self.unmade else "Its key is gone."

    @property
    def version(self) -> str:
        return "-".join(f"{row.id}{row.state}" for row in self.rows) + f"-{len(self.sentence)}"

    @property
    def rhythm(self) -> int:
        return 1 if self.coming else 0

    @property
    def server(self) -> Server | None:
        """Where it is known already."""
        return sources.known(self.at.user, self.at.host, self.at.port)

    @property
    def login_id(self) -> int | None:
        """Of the one under way that adds it."""
        return logins.open_at(self.at)

    def lines(self, row: MadeKey) -> KeyLines:
        return KeyLines.of(row.public, str(self.at))


def keys_at(at: At) -> KeysView | None:
    """None: no key was made for that login."""
    rows = made_keys.at(at)
    return KeysView(at, rows) if rows else None


@bp.get("/keys")
def made_keys_page() -> str:
    places = dict.fromkeys(At.of(row) for row in made_keys.of_account(viewer.current().owner_id))
    return render_template("servers/keys.html", places=[keys_at(at) for at in places])


@bp.get("/keys/<int(max=2147483647):made_id>")
def made_key(made_id: int) -> str:
    return render_template("servers/key.html", keys=keys_at(At.of(_mine(made_id))), made_id=made_id)


@bp.get("/keys/<int(max=2147483647):made_id>/watch")
def watch_key(made_id: int) -> str | Response:
    """As for a login: nothing, or the whole of it anew."""
    keys = KeysView(at := At.of(_mine(made_id)), made_keys.at(at))
    if "HX-Request" not in request.headers:
        return to_key(made_id)
    if keys.version == request.args.get("seen"):
        return Answer(status=204)
    return render_template("servers/_key.html", keys=keys, made_id=made_id)


@bp.get("/<int(max=2147483647):server_id>/key")
def server_key(server_id: int) -> str | Response:
    """Of a server that is known: its key, or the offer to make one."""
    server = _my_server(server_id)
    if keys := keys_at(At.of(server)):
        return to_key(keys.rows[-1].id)
    return render_template("servers/no_key.html", server=server, label=line(At.of(server)))


@bp.post("/<int(max=2147483647):server_id>/make-key")
@proof.required
def make_key(server_id: int) -> Response:
    return _asked(At.of(_my_server(server_id)))


@bp.post("/keys/<int(max=2147483647):made_id>/again")
@proof.required
def make_key_again(made_id: int) -> Response:
    """What could not be made."""
    return _asked(At.of(_mine(made_id)))


@bp.post("/keys/<int(max=2147483647):made_id>/rotate")
@proof.required
def rotate_key(made_id: int) -> Response:
    return _asked(At.of(_mine(made_id)), to_replace=True)


@bp.post("/keys/<int(max=2147483647):made_id>/revoke")
@proof.required
def revoke_key(made_id: int) -> Response:
    row = _mine(made_id)
    at = At.of(row)
    made_keys.revoke([row])
    flash("Its private half is destroyed. Now take its line away at the server.")
    return _to_what_is_left(at)


@bp.post("/keys/<int(max=2147483647):made_id>/removed")
def key_removed(made_id: int) -> Response:
    """The person says that the line of a key that is gone stands there no more. Said twice, it is as said once."""
    row = made_keys.of(viewer.current().owner_id, made_id)
    if row is None:
        return redirect(url_for("servers.made_keys_page"), 303)
    at = At.of(row)
    made_keys.forget(row)
    db.session.commit()
    return _to_what_is_left(at)


def to_key(made_id: int) -> Response:
    return redirect(url_for("servers.made_key", made_id=made_id), 303)


def _asked(at: At, *, to_replace: bool = False) -> Response:
    try:
        row = made_keys.ask(at, viewer.current().name, to_replace=to_replace)
    except BadInput as error:
        db.session.rollback()
        flash(str(error))
        return _to_what_is_left(at)
    made_id = row.id
    db.session.commit()
    return to_key(made_id)


def _to_what_is_left(at: At) -> Response:
    keys = keys_at(at)
    return to_key(keys.rows[-1].id) if keys else redirect(url_for("servers.made_keys_page"), 303)


def _mine(made_id: int) -> MadeKey:
    return made_keys.of(viewer.current().owner_id, made_id) or abort(
        404, "There is no such key here any more."
    )


def _my_server(server_id: int) -> Server:
    server = sources.own_server(server_id)
    if server is None or server.is_local:
        abort(404, "There is no such server here.")
    return server
