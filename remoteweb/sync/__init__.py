"""The blueprint `sync`: ask for a sync, see how it goes and how the last one went; pause and remove sources.

Templates get `overview()` (a ServerLine per server) and `can_sync_now()` as globals. `sync/_bar.html` asks for
itself again while `is_syncing(overview())`.
"""

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from remoteweb import sources
from remoteweb.sync import requests
from remoteweb.sync.queries import is_syncing, overview
from remoteweb.untrusted import whole

bp = Blueprint("sync", __name__)


@bp.app_template_global()
def can_sync_now() -> bool:
    return bool(current_app.config["SYNC_NOW"])


bp.add_app_template_global(overview)
bp.add_app_template_global(is_syncing)


@bp.get("/sync")
def bar() -> str | Response:
    """How old everything is, and how a sync goes; the fragment asks for itself again while one runs."""
    if "HX-Request" in request.headers:
        return render_template("sync/_bar.html")
    return redirect(url_for("sync.servers"), 303)


@bp.post("/sync")
def now() -> str | Response:
    """Ask for a sync of one server, or of all. The sync worker takes the row."""
    if not can_sync_now():
        abort(404, "“Sync now” is switched off here.")
    if "server" not in request.form:
        requests.ask_all()
        return _answer()
    server_id = whole(request.form.get("server", type=int), 1)
    if server_id is None:
        abort(404, "There is no such server here.")
    server = sources.own_server(server_id)
    if server is None:
        abort(404, "There is no such server here any more.")
    requests.ask(server)
    return _answer()


@bp.get("/servers")
def servers() -> str:
    return render_template("sync/servers.html", servers=overview())


@bp.post("/sources/<int(max=2147483647):source_id>/pause")
def pause(source_id: int) -> str | Response:
    return _set_paused(source_id, True)


@bp.post("/sources/<int(max=2147483647):source_id>/resume")
def resume(source_id: int) -> str | Response:
    return _set_paused(source_id, False)


@bp.post("/sources/<int(max=2147483647):source_id>/remove")
def remove(source_id: int) -> Response:
    """Its rows go, so this answers with a whole page, with and without htmx."""
    source = sources.own_source(source_id)
    if source is None:
        abort(404)
    place = source.server.label
    flash(f"{source.app} on {place} was removed here. On the server, everything is as it was.")
    sources.forget(source_id)
    answer = redirect(url_for("sync.servers"), 303)
    if "HX-Request" in request.headers:
        answer.status_code = 200
        answer.headers["HX-Redirect"] = answer.headers.pop("Location")
    return answer


def _set_paused(source_id: int, paused: bool) -> str | Response:
    source = requests.set_paused(source_id, paused)
    if source is None:
        abort(404, "There is no such source here any more.")
    if "HX-Request" not in request.headers:
        return redirect(url_for("sync.servers"), 303)
    server_id = source.server_id
    line = next(line for line in overview() if line.server_id == server_id)
    return render_template("sync/_server.html", server=line)


def _answer() -> str | Response:
    if "HX-Request" in request.headers:
        return render_template("sync/_bar.html")
    return redirect(_came_from(), 303)


def _came_from() -> str:
    """The page with the button, if it is one of ours: both the list and the servers' page have one."""
    at_servers = (request.referrer or "").partition("?")[0] == request.host_url.rstrip("/") + url_for(
        "sync.servers"
    )
    return url_for("sync.servers") if at_servers else url_for("jobs.index")
