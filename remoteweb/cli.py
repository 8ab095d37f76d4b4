"""The commands: the same ones for `flask` and for `remoteweb`, which is `flask` with this app chosen."""

import gc
import signal
import sys
import threading
import time
from pathlib import Path

import click
from flask import Flask, current_app
from flask.cli import FlaskGroup

from remoteweb import serving, sources, terminal
from remoteweb.commands import owner_option, this_app, with_database, work_for
from remoteweb.database import db, shown
from remoteweb.models import Source
from remoteweb.untrusted import line
from remoteweb.upgrade import upgrade_database

# A look around for work that takes so long stands still: systemd, which is told no more that we live, starts us anew.
STUCK_SECONDS = 60.0


def register(app: Flask) -> None:
    """Add the commands to the app."""
    from remoteweb import user_commands
    from remoteweb.audit_command import show_audit
    from remoteweb.database_commands import backup, migrate
    from remoteweb.host_key_commands import host_keys
    from remoteweb.key_commands import keys
    from remoteweb.list_commands import list_jobs, list_sources
    from remoteweb.update_command import update_database

    for command in (
        update_database,
        forget_source,
        list_sources,
        list_jobs,
        link,
        serve,
        web,
        migrate,
        backup,
        sync_worker,
        show_audit,
        keys,
        host_keys,
        *user_commands.COMMANDS,
    ):
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
    # What was imported stays until the end. To look through it for garbage, and once more at the end, was a third of what a
    # short command cost.
    gc.freeze()
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


@click.command("forget-source")
@click.argument("app")
@click.argument("server", required=False, metavar="[[USER@]SERVER[:PORT]]")
@owner_option
@with_database
def forget_source(app: str, server: str | None, owner: str | None) -> None:
    """Remove a source with its jobs from this database. On SERVER, nothing is touched."""
    upgrade_database(this_app())
    work_for(owner)
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


@click.command("link")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="By default the one that is served, or the public address."
)
@with_database
def link(port: int | None) -> None:
    """Print a link that lets one browser in, once, within an hour."""
    from remoteweb.access import new_link

    upgrade_database(this_app())
    public = current_app.config["PUBLIC_URL"]
    click.echo(new_link(public if public and port is None else f"http://localhost:{port or _served_port()}"))


def _served_port() -> int:
    found = serving.ports(shown(db.engine.url))
    if not found:
        terminal.say(
            f"Nothing is served now: the link opens once `remoteweb serve` runs (port {serving.DEFAULT_PORT})."
        )
    return found[0] if found else serving.DEFAULT_PORT


@click.command("serve")
@click.option("--port", type=click.IntRange(1, 65535), default=serving.DEFAULT_PORT, show_default=True)
@with_database
def serve(port: int) -> None:
    """Serve the pages on this machine, with the sync worker beside them."""
    from remoteweb.serve import serve as serve_app

    serve_app(this_app(), port)


@click.command("web")
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The unix socket; without it, the one that systemd hands over.",
)
@with_database
def web(path: Path | None) -> None:
    """Serve the pages alone, on a unix socket behind a reverse proxy. Syncs are the work of `sync-worker`."""
    from remoteweb.web import serve_web

    serve_web(this_app(), path)


@click.command("sync-worker")
@with_database
def sync_worker() -> None:
    """Keep syncing until a signal ends it: each source in its time, and what a tap asks for."""
    from gunicorn.systemd import sd_notify

    from remoteweb import starting
    from remoteweb.sync.worker import Worker

    starting.check_worker(this_app())
    upgrade_database(this_app())
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    worker = Worker(this_app())
    worker.start()
    terminal.say("The sync worker runs. Ctrl-C ends it.")
    sd_notify("READY=1", current_app.logger)  # where no systemd has started it, this does nothing
    while not over.wait(1.0):
        if not worker.is_alive():
            sys.exit(1)
        if time.monotonic() - worker.looked_at < STUCK_SECONDS:
            sd_notify("WATCHDOG=1", current_app.logger)
    worker.stop()
