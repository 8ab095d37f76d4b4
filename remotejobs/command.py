"""The `remotejobs` command: the same functions, for a shell. Results go to stdout, everything else to stderr."""

import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from remotejobs import foreign, gate_command, terminal
from remotejobs.aliases import parse_jumps
from remotejobs.described import described
from remotejobs.destination import Destination
from remotejobs.errors import ActionUnknown, BadInput, RemoteJobsError
from remotejobs.records import JobKey
from remotejobs.shell import LocalShell, Shell, SSHShell
from remotejobs.submitter import RemoteJobSubmitter

_JUMP = "remotejobs.jump"
DEFAULT_APP = "remoteJobs-vistrails"
# How a line says who tells the state.
WITNESSES = {
    "queue": "says the queue",
    "accounting": "says accounting",
    "exit_file": "says its exit file",
    "action": "as you asked",
    "inferred": "by inference",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--app",
    default=DEFAULT_APP,
    show_default=True,
    envvar="REMOTEJOBS_APP",
    help="The folder of records: ~/.APP on the server.",
)
@click.option(
    "--server",
    metavar="[USER@]HOST[:PORT]",
    envvar="REMOTEJOBS_SERVER",
    help="Where the jobs are; without it, this machine.",
)
@click.option(
    "--jump",
    metavar="[USER@]HOST[:PORT],...",
    envvar="REMOTEJOBS_JUMP",
    help="The servers to go through, the first one first, as `ssh -J` takes them; `none` if ~/.ssh/config names some.",
)
@click.option("--password-stdin", is_flag=True, help="Read a password from the first line of standard input.")
@click.pass_context
def main(
    context: click.Context, app: str, server: str | None, jump: str | None, password_stdin: bool
) -> None:
    """Submit jobs on machines that are reached by SSH, and know what became of them."""
    context.obj = (app, server, password_stdin)
    context.meta[_JUMP] = jump


@contextmanager
def _jobs(context: click.Context) -> Iterator[RemoteJobSubmitter]:
    """A known error is a sentence and an exit code (2 input, 3 login or host key, 4 unreachable, 1 else), no traceback."""
    app, server, password_stdin = context.obj
    try:
        with RemoteJobSubmitter(app, shell=_shell(server, context.meta[_JUMP], password_stdin)) as jobs:
            yield jobs
    except RemoteJobsError as error:
        terminal.complain(str(error))
        if isinstance(error, ActionUnknown):
            terminal.say(f"To go on with it, run the same command again with --action {error.action}.")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # one more, while we leave, would change how we end
        terminal.say("Interrupted. What was on its way to the server may still be carried out there.")
        sys.exit(130)


def _shell(server: str | None, jump: str | None, password_stdin: bool) -> Shell:
    if server is None:
        return LocalShell()
    where = Destination.parse(server)
    jumps = None if jump is None else parse_jumps(jump)
    accept = terminal.accepts if terminal.is_interactive() else None
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        return SSHShell(where, jumps=jumps, password=password, accept_host_key=accept)
    if not terminal.is_interactive():
        return SSHShell(where, jumps=jumps)
    return terminal.AskingShell(where, accept, jumps)


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--name", default="", help="What the job is called; else the command's name.")
@click.option("--scheduler", default="auto", help="auto (the default), slurm or process.")
@click.option("--from", "local_path", metavar="FOLDER", help="A folder here that is copied to --in first.")
@click.option(
    "--in",
    "remote_path",
    metavar="FOLDER",
    help="Where it runs: an absolute path, or '~/path' over there, in quotes, since your shell knows the home here alone. "
    "Without it: here in the current folder, on a server in an empty one of its own.",
)
@click.option(
    "--before", default="", help="A line of shell before the command, for instance 'module load gcc'."
)
@click.option("--after", default="", help="A line of shell after it.")
@click.option(
    "--env",
    "environment",
    multiple=True,
    metavar="NAME=VALUE",
    help="An environment variable; may be repeated.",
)
@click.option("--walltime", help="Seconds, HH:MM:SS or D-HH:MM:SS.")
@click.option("--cores", type=int, help="Cores, of one task.")
@click.option("--memory", help="Megabytes, or a number with M, G or T.")
@click.option("--gpus", type=int, help="Graphics processors.")
@click.option("--partition", help="The scheduler's partition or queue.")
@click.option("--account", help="The account that is charged.")
@click.option("--qos", help="The quality of service.")
@click.option(
    "--extra", multiple=True, help="A further option line of the scheduler, for instance --exclusive."
)
@click.option("--action", metavar="UUID", help="Go on with an earlier submission whose outcome is not known.")
def submit(
    command: str,
    arguments: tuple[str, ...],
    local_path: str | None,
    remote_path: str | None,
    before: str,
    after: str,
    environment: tuple[str, ...],
    extra: tuple[str, ...],
    action: str | None,
    **options: Any,
) -> None:
    """Submit COMMAND with its ARGUMENTS, and print the key of the job."""
    with _jobs(click.get_current_context()) as jobs:
        if remote_path is None and jobs.settings.is_local:
            remote_path = str(Path.cwd())
        pairs = dict(_pair(text) for text in environment)
        settings = jobs.create_settings(
            local_path, remote_path, command, arguments, before, after, pairs, extra=list(extra), **options
        )
        settings = jobs.submit_job(settings, action=action)
        click.echo(settings["jobid"])
        terminal.say(f"Submitted to {settings['scheduler']} as {settings['scheduler_id']}.")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadInput(f"{text!r} is not NAME=VALUE.")
    return name, value


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_context
def list_jobs(context: click.Context, as_json: bool) -> None:
    """List the jobs with their states, the newest first."""
    with _jobs(context) as jobs:
        states = jobs.check_states(jobs.settings.list_keys())
        newest = sorted(
            states.values(),
            key=lambda state: state["updated"] or datetime.min.replace(tzinfo=UTC),
            reverse=True,
        )
        for state in newest:
            click.echo(_as_json(state) if as_json else _as_line(state))
        if not newest:
            terminal.say(f"There are no jobs of {jobs.app_name} on {jobs.settings.shell}.")


@main.command()
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="All that is known, as one JSON object.")
@click.pass_context
def state(context: click.Context, key: str, as_json: bool) -> None:
    """Tell the state of the job KEY, and who says so."""
    with _jobs(context) as jobs:
        found = jobs.check_state(*JobKey.parse(key), False)
        click.echo(_as_json(found) if as_json else _as_line(found))


@main.command()
@click.argument("key")
@click.pass_context
def cancel(context: click.Context, key: str) -> None:
    """Cancel the job KEY; one that has already ended is no error."""
    with _jobs(context) as jobs:
        click.echo(jobs.cancel_job(*JobKey.parse(key)))


@main.command()
@click.argument("key")
@click.option("--walltime", help="Another one: seconds, HH:MM:SS or D-HH:MM:SS.")
@click.option("--cores", type=int, help="As many cores instead.")
@click.option("--memory", help="As much memory instead: megabytes, or a number with M, G or T.")
@click.option("--partition", help="Another partition or queue.")
@click.option("--action", metavar="UUID", help="Go on with an earlier one whose outcome is not known.")
@click.pass_context
def resubmit(context: click.Context, /, key: str, action: str | None, **changes: Any) -> None:
    """Run the kept script of the job KEY once more, and print the new key. What is not named stays as it was."""
    with _jobs(context) as jobs:
        click.echo(str(JobKey(*jobs.resubmit_job(*JobKey.parse(key), action=action, **changes))))


@main.command()
@click.argument("key")
@click.option("--stderr", is_flag=True, help="What it printed as errors.")
@click.pass_context
def log(context: click.Context, key: str, stderr: bool) -> None:
    """Print the end (at most 64 KiB) of what the job KEY has printed so far."""
    with _jobs(context) as jobs:
        tail = jobs.read_log(*JobKey.parse(key), stderr=stderr)
        if len(tail.content) < tail.size:
            terminal.say(f"The end of {tail.size:,} bytes:")
        click.echo(tail.text, nl=False)


@main.command()
@click.argument("app", required=False)
@click.option("--dry-run", is_flag=True, help="List what would be sealed, and touch nothing.")
@click.option(
    "--settled",
    default="1d",
    show_default=True,
    metavar="DAYS",
    help="For how long a job has to be over: days, 30d or 1y.",
)
@click.option(
    "--trash",
    default="7d",
    show_default=True,
    metavar="DAYS",
    help="For how long run folders lie in the trash.",
)
@click.pass_context
def clean(context: click.Context, app: str | None, dry_run: bool, settled: str, trash: str) -> None:
    """Seal the records of jobs that are over, and move their run folders to the trash. Made for cron.

    The records stay: in every database, and on the server for a new one. Folders that a job was given (--in) are never
    touched.
    """
    context.obj = (app or context.obj[0], *context.obj[1:])
    with _jobs(context) as jobs:
        report = jobs.clean(dry_run, settled_days=_days(settled), trash_days=_days(trash))
        for record, status in report.jobs:
            click.echo(_as_line(described(record, status)))
        click.echo(report.sentence)


@main.command()
@click.argument("app", required=False)
@click.option("--older-than", required=True, metavar="DAYS", help="Days, 30d or 1y.")
@click.option("--dry-run", is_flag=True, help="Say how many would be deleted, and delete nothing.")
@click.pass_context
def prune(context: click.Context, app: str | None, older_than: str, dry_run: bool) -> None:
    """Delete sealed records on the server that are all older than that; nothing else ever deletes one.

    Databases that have read them keep them. The number of a deleted job is not used again.
    """
    context.obj = (app or context.obj[0], *context.obj[1:])
    with _jobs(context) as jobs:
        click.echo(jobs.prune(_days(older_than), dry_run=dry_run).sentence)


def _days(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,5})([dy]?)", text, re.ASCII)
    if not match:
        raise click.BadParameter(f"{text!r} is no time: give days, or for instance 30d or 1y.")
    return float(match[1]) * (365 if match[2] == "y" else 1)


def _as_line(state: dict[str, Any]) -> str:
    word = "settling" if state["settling"] else state["status"]
    reason = "" if state["reason"] == "exit_code" else state["reason"].replace("_", " ")
    when = state["updated"].astimezone().strftime("%Y-%m-%d %H:%M") if state["updated"] else "-"
    witness = WITNESSES.get(state["evidence"]) or f"says {state['evidence'].replace('_', ' ')}"
    said = ", ".join(filter(None, [reason, _exit(state), witness]))
    line = f"{state['jobid']}  {word:<10} {when:<16}  {state['name']}  ({said})"
    return foreign.line(line, 400)


def _exit(state: dict[str, Any]) -> str:
    return f"exit {state['exit_code']}" if state["exit_code"] else ""


def _as_json(state: dict[str, Any]) -> str:
    def when(value: object) -> str:
        return value.isoformat() if isinstance(value, datetime) else str(value)

    return json.dumps(state, default=when)


@main.command("install-gate")
@click.argument("server", required=False, metavar="[USER@]HOST[:PORT]")
@click.option(
    "--key",
    "key_file",
    metavar="FILE",
    help="The public key that is to be narrow: its file, or its line itself. Without it, one is made.",
)
@click.option(
    "--from",
    "addresses",
    multiple=True,
    metavar="ADDRESS",
    help="From there alone: an address or a network; may be repeated.",
)
@click.option("--write", is_flag=True, help="Add the line to ~/.ssh/authorized_keys there without asking.")
@click.option("--remove", is_flag=True, help="Take the lines (with --key: of that key) and the gate away.")
@click.pass_context
def install_gate(
    context: click.Context,
    server: str | None,
    key_file: str | None,
    addresses: tuple[str, ...],
    write: bool,
    remove: bool,
) -> None:
    """Let a key list, cancel and repeat jobs on a server, and nothing else; or renew that.

    Puts a small fixed program there, by a login that may do more, and prints the line for authorized_keys.
    """
    app, named, password_stdin = context.obj
    context.obj = (app, server or named, password_stdin)
    if context.obj[1] is None:
        raise click.UsageError("Name the server: remotejobs install-gate [USER@]HOST[:PORT].")
    with _jobs(context) as jobs:
        host = Destination.parse(context.obj[1]).host
        gate_command.install(jobs.settings.shell, host, key_file, addresses, write, remove)
