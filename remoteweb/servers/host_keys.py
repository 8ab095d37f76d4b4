"""The page of the host keys that were accepted here: which, by whom, when; and how one is taken back."""

from flask import abort, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from remoteweb import hostkeys, viewer
from remoteweb.database import db
from remoteweb.servers import bp


@bp.get("/host-keys")
def host_keys() -> str:
    rows = hostkeys.accepted(viewer.current().owner_id)
    keys = [(row, hostkeys.KeyLine(row.name, row.type, row.key).fingerprint) for row in rows]
    return render_template("servers/host_keys.html", keys=keys)


@bp.post("/host-keys/<int(max=2147483647):key_id>/remove")
def remove_host_key(key_id: int) -> Response:
    key = hostkeys.remove(key_id, viewer.current().owner_id) or abort(404)
    db.session.commit()
    flash(f"The key of {key.name} is not accepted any more. The next login there asks about it again.")
    return redirect(url_for("servers.host_keys"), 303)
