"""The commands: the same ones for `flask` and for `remoteweb`, which is `flask` with this app chosen."""

import signal
import sys
import threading
from typing import Any

import click
import msgspec
from flask import Flask, current_app
from flask.cli import FlaskGroup, with_appcontext

from remoteweb import serving, sources, terminal
from remoteweb.database import db, shown
from remoteweb.models import Job, Source
from remoteweb.untrusted import line
from remoteweb.upgrade import upgrade_database

DEFAULT_PORT = 8000


def register(app: Flask) -> None:
    """Add the commands to the app."""
    from remoteweb.update_command import update_database

    for command in (update_database, forget_source, list_sources, list_jobs, link, serve, sync_worker):
        app.cli.add_command(command)


def main() -> None:
    """`remoteweb`: works in any folder, beside any other program's wsgi.py."""
    from remoteweb import create_app

    group = FlaskGroup(
        name="remoteweb",
        create_app=create_app,
        add_default_commands=False,
        add_version_option=False,
        load_dotenv=False,
        set_debug_flag=False,
        help="Your cluster jobs on your phone.",
    )
    # Which app it is, is settled; and no file beside which it happens to run may say anything.
    group.params = [_version_option(), *(one for one in group.params if one.name == "help")]
    group.main(prog_name="remoteweb")


def _version_option() -> click.Parameter:
    from remoteweb.version import __version__

    def show(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            click.echo(f"remoteweb {__version__}")
            ctx.exit()

    return click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=show,
        help="Show the version.",
    )


def _app() -> Flask:
    return current_app._get_current_object()  # type: ignore[attr-defined,no-any-return]


@click.command("sources")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@with_appcontext
def list_sources(as_json: bool) -> None:
    """List the sources that are known, with the age of what is known of them."""
    upgrade_database(_app())
    rows = [_source_row(source) for source in db.session.scalars(db.select(Source).order_by(Source.id))]
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return
    for row in rows:
        click.echo(f"{row['app']}  {row['server']}  {row['state']}")
    if not rows:
        click.echo("No source is known yet: `remoteweb update-database APP [USER@]SERVER` makes one known.")


def _source_row(source: Source) -> dict[str, Any]:
    server = source.server
    place = "this machine" if server.is_local else f"{server.user}@{server.host}:{server.port}"
    trouble = server.needs_person or server.error or source.error
    return {
        "app": source.app,
        "server": place,
        "alias": line(server.alias),
        "confirmed_at": source.confirmed_at,
        "state": "paused" if source.paused else line(trouble, 500) or "ok",
    }


@click.command("forget-source")
@click.argument("app")
@click.argument("server", required=False, metavar="[[USER@]SERVER[:PORT]]")
@with_appcontext
def forget_source(app: str, server: str | None) -> None:
    """Remove a source with its jobs from this database. On SERVER, nothing is touched."""
    upgrade_database(_app())
    source = _source_named(app, server)
    if source is None:
        place = server or "this machine"
        raise click.ClickException(f"{app} on {place} is not known here. `remoteweb sources` lists what is.")
    label, source_id = line(source.server.label), source.id
    sources.forget(source_id)
    click.echo(f"{app} on {label} is forgotten here. On the server, everything is as it was.")


def _source_named(app: str, server: str | None) -> Source | None:
    from remotejobs.errors import RemoteJobsError
    from remoteweb import connect

    if server is None:
        return sources.find_here(app)
    try:
        at = connect.known_server(server)
    except RemoteJobsError as error:
        raise _refusal(error) from None
    return sources.find(app, at) if at else None


def _refusal(error: Exception) -> click.ClickException:
    refusal = click.ClickException(str(error))
    refusal.exit_code = getattr(error, "exit_code", 1)  # type: ignore[misc]  # click reads the instance's
    return refusal


@click.command("jobs")
@click.option("--state", help="Only jobs in this state: running, failed, ...")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many."
)
@with_appcontext
def list_jobs(state: str | None, as_json: bool, limit: int) -> None:
    """List the jobs as the page does: what needs you first, the newest change first in each group."""
    upgrade_database(_app())
    query = db.select(Job).order_by(Job.group, Job.change.desc(), Job.id.desc()).limit(limit)
    rows = [_job_row(job) for job in db.session.scalars(query.where(Job.state == state) if state else query)]
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return
    for row in rows:
        click.echo(f"{row['state']:<10} {row['name']}  {row['scheduler_id'] or row['key']}  {row['server']}")


def _job_row(job: Job) -> dict[str, Any]:
    return {
        "key": job.key,
        "name": line(job.name),
        "server": line(job.server.label),
        "app": job.source.app if job.source else "",
        "scheduler": job.scheduler,
        "scheduler_id": line(job.scheduler_id),
        "state": job.state,
        "reason": job.reason,
        "evidence": job.evidence,
        "exit_code": job.exit_code,
        "submitted": job.submitted,
        "started": job.started,
        "ended": job.ended,
    }


@click.command("link")
@click.option("--port", type=click.IntRange(1, 65535), help="By default the one that is served.")
@with_appcontext
def link(port: int | None) -> None:
    """Print a link that lets one browser in, once, within an hour."""
    from remoteweb.access import new_link

    upgrade_database(_app())
    if port is None:
        port = _served_port()
    click.echo(new_link(f"http://localhost:{port}"))


def _served_port() -> int:
    found = serving.ports(shown(db.engine.url))
    if not found:
        terminal.say(
            f"Nothing is served now: the link opens once `remoteweb serve` runs (port {DEFAULT_PORT})."
        )
    return found[0] if found else DEFAULT_PORT


@click.command("serve")
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True)
@with_appcontext
def serve(port: int) -> None:
    """Serve the pages on this machine, with the sync worker beside them."""
    from remoteweb.serve import serve as serve_app

    serve_app(_app(), port)


@click.command("sync-worker")
@with_appcontext
def sync_worker() -> None:
    """Keep syncing until a signal ends it: each source in its time, and what a tap asks for."""
    from remoteweb.sync.worker import Worker

    upgrade_database(_app())
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    worker = Worker(_app())
    worker.start()
    terminal.say("The sync worker runs. Ctrl-C ends it.")
    while not over.wait(1.0):
        if not worker.is_alive():
            sys.exit(1)
    worker.stop()
