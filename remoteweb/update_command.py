"""`update-database`: sync from a terminal or from cron, with an exit code that says how it went."""

import re
import signal
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import click
import msgspec
from flask import current_app

from remotejobs.errors import LoginError, RemoteJobsError
from remotejobs.records import app_name
from remoteweb import attended, connect, dry_run, sources, terminal, viewer
from remoteweb.accounts import Account
from remoteweb.attended import Target
from remoteweb.commands import owner_option, with_database, work_for
from remoteweb.database import db, shown
from remoteweb.leases import Busy
from remoteweb.models import Source
from remoteweb.runs import SourceResult
from remoteweb.syncs import SyncResult
from remoteweb.untrusted import line
from remoteweb.upgrade import upgrade_database

INTERRUPTED = 130
FAILED = 1
ALL_PAUSED = "Every source is paused, so nothing was synced. Resume one on the page Servers, or name it."


@dataclass(slots=True)
class Options:
    as_json: bool
    quiet: bool
    verbose: bool
    dry_run: bool
    timeout: float
    password: str | None
    owner: str | None = None


@dataclass(slots=True)
class Outcome:
    """Of one source; `code` is what the command would end with if it were the only one."""

    label: str
    result: SourceResult
    seconds: float
    code: int

    def line(self, *, with_app: bool) -> str:
        name = f"{self.label} {self.result.app}" if with_app else self.label
        return f"{name}: {self.result.sentence}, {self.seconds:.1f} s"


@click.command("update-database")
@click.argument("app", required=False, metavar="[APP")
@click.argument("server", required=False, metavar="[[USER@]SERVER[:PORT]]]")
@click.option("--password-stdin", is_flag=True, help="Read a password from the first line of standard input.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, and no summary lines.")
@click.option("-v", "--verbose", is_flag=True, help="Say which database is used.")
@click.option("--dry-run", is_flag=True, help="Show the actions that would be sent, and send nothing.")
@click.option(
    "--timeout",
    type=click.FloatRange(1, 3600),
    default=90.0,
    show_default=True,
    metavar="SECONDS",
    help="How long one server may take.",
)
@owner_option
@with_database
def update_database(
    app: str | None,
    server: str | None,
    password_stdin: bool,
    timeout: float,
    owner: str | None,
    **flags: bool,
) -> None:
    """Fetch what is new about the jobs of APP on SERVER, and send the actions that wait for them.

    Without SERVER, on this machine. Without APP, every source that is known and not paused (or
    remoteJobs-vistrails on this machine if none is known). SERVER may be an alias of ~/.ssh/config,
    me@alps.example.org:2222 or [::1]:22.

    \b
    Exit status: 0 done, 1 failed, 2 wrong usage, 3 login or host key, 4 unreachable or timed out,
    75 another sync of that server is running, 130 interrupted.
    """
    try:
        password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
        sys.exit(_update(app, server, Options(password=password, timeout=timeout, owner=owner, **flags)))
    except KeyboardInterrupt:
        sys.exit(_interrupted())
    except click.Abort as abort:
        # A prompt turns Ctrl-C and the end of the input into the same exception.
        sys.exit(_interrupted() if isinstance(abort.__context__, KeyboardInterrupt) else LoginError.exit_code)


def _interrupted() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one more, while we leave, would change how we end
    terminal.say("\nInterrupted. The database is whole; the rest follows with the next sync.")
    return INTERRUPTED


def _update(app: str | None, server: str | None, options: Options) -> int:
    upgrade_database(current_app._get_current_object())  # type: ignore[attr-defined]
    work_for(options.owner)
    _refuse_who_is_shut_out()
    if options.verbose:
        terminal.say(f"Database: {shown(db.engine.url)}")
    try:
        targets = _targets(app, server)
    except RemoteJobsError as error:
        terminal.complain(str(error))
        return error.exit_code
    if options.dry_run:
        return _show_plan(targets, options)
    if not (targets or options.as_json or options.quiet):
        click.echo(ALL_PAUSED)
    ends = [end for target in targets for end in _sync(target, options)]
    if options.as_json:
        click.echo(msgspec.json.encode([_as_json(end) for end in ends]).decode())
    return _exit_code([end.code for end in ends])


def _refuse_who_is_shut_out() -> None:
    account = db.session.get(Account, viewer.current().account_id)
    if account is not None and account.disabled_at is not None:
        raise click.ClickException(
            f"{account.name} is shut out, so nothing is synced for that account. "
            f"`remoteweb enable-user {account.name}` comes first."
        )


def _exit_code(codes: list[int]) -> int:
    if len(codes) == 1:
        return codes[0]
    if codes and all(code == Busy.exit_code for code in codes):
        return Busy.exit_code
    return FAILED if any(code not in (0, Busy.exit_code) for code in codes) else 0


def _show_plan(targets: list[Target], options: Options) -> int:
    rows = dry_run.planned(targets)
    for target in targets:
        sources.drop_if_unknown(target.server_id)
    if options.as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return 0
    for row in rows:
        click.echo(dry_run.sentence(row))
    if not rows and not options.quiet:
        click.echo("Nothing would be sent.")
    return 0


def _targets(app: str | None, server: str | None) -> list[Target]:
    if app is None:
        known = sources.with_sources()
        if known or sources.is_any_known():
            return [Target(row.id, line(row.label), None) for row in known]
        app = sources.DEFAULT_APP
    checked = app_name(app)
    row = sources.this_machine() if server is None else connect.server_named(server)
    return [Target(row.id, line(row.label), [checked])]


def _sync(target: Target, options: Options) -> list[Outcome]:
    """The target's sources with how it went; errors are told at once, to stderr."""
    bar = terminal.Bar(target.label, quiet=options.quiet)
    began = time.monotonic()
    try:
        result = attended.sync(target, options.password, options.timeout, bar)
        error = None
    except RemoteJobsError as raised:
        result, error = _failed(target, str(raised)), raised
    finally:
        bar.close()
    if error:
        terminal.complain(_of_server(target.label, str(error)))
        sources.drop_if_unknown(target.server_id)
    code = error.exit_code if error else 0
    ends = [
        Outcome(target.label, one, time.monotonic() - began, code or (FAILED if one.error else 0))
        for one in result.sources
    ]
    _tell(ends, error is None, options)
    return ends


def _of_server(label: str, sentence: str) -> str:
    """The sentence with the server's name before it, unless it has it already."""
    is_named = re.search(rf"(?<![\w.@-]){re.escape(label)}(?![\w-])", sentence)
    return sentence if is_named else f"{label}: {sentence}"


def _tell(ends: list[Outcome], answered: bool, options: Options) -> None:
    for end in ends:
        if end.result.error and answered:
            terminal.complain(f"{end.label} {end.result.app}: {end.result.error}")
        elif not end.code and not options.as_json and not options.quiet:
            click.echo(end.line(with_app=len(ends) > 1))


def _failed(target: Target, sentence: str) -> SyncResult:
    query = db.select(Source.app).where(Source.server_id == target.server_id, Source.paused.is_(False))
    apps = target.apps or list(db.session.scalars(query))
    return SyncResult(target.label, 0.0, [SourceResult(app, error=line(sentence, 1000)) for app in apps])


def _as_json(end: Outcome) -> dict[str, Any]:
    return {
        "server": end.label,
        **asdict(end.result),
        "seconds": round(end.seconds, 3),
        "exit_code": end.code,
    }
