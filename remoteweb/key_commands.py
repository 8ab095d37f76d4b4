"""`remoteweb key`: the keys that are made here, one for each login of an account."""

import contextlib
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from remotejobs.errors import RemoteJobsError
from remoteweb import connect, key_making, made_keys, resealing, sealing, terminal
from remoteweb.commands import owner_option, this_app, with_database, work_for
from remoteweb.database import db
from remoteweb.key_lines import KeyLines
from remoteweb.made_keys import At
from remoteweb.untrusted import line
from remoteweb.upgrade import upgrade_database
from remoteweb.viewer import current
from remoteweb.ways import IN_USE, MADE, REPLACED, REVOKED, UNMADE, WANTED, MadeKey

WORDS = {
    WANTED: "asked for",
    MADE: "made, not taken by the server yet",
    IN_USE: "in use",
    REPLACED: "replaced, its private half destroyed",
    REVOKED: "revoked, its private half destroyed",
    UNMADE: "could not be made",
}
_TO_ADD = """\
{state}

For the jobs alone, best. Where you can log in to {login}, run
    {lines.install}
which puts the gate there and adds this line to ~/.ssh/authorized_keys by itself:
{lines.narrow}

For the whole account, a shell too, add this line there instead, as one line:
{lines.plain}"""
_TO_REMOVE = "Take the line that ends like this out of ~/.ssh/authorized_keys at {login}:\n{public}"

SERVER = click.argument("server", metavar="USER@SERVER[:PORT]")


@click.group("key")
def keys() -> None:
    """Make, show, replace and revoke the keys that are made here, one for each login to a server."""


def _login(server: str, owner: str | None) -> At:
    upgrade_database(this_app())
    work_for(owner)
    return connect.login_named(server)


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except RemoteJobsError as error:
        db.session.rollback()
        refusal = click.ClickException(str(error))
        refusal.exit_code = error.exit_code  # type: ignore[misc]  # click reads the instance's
        raise refusal from None


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@owner_option
@with_database
def list_keys(as_json: bool, owner: str | None) -> None:
    """List the keys, with what became of each."""
    upgrade_database(this_app())
    work_for(owner)
    found = made_keys.of_account(current().owner_id)
    if as_json:
        click.echo(msgspec.json.encode([_as_json(row) for row in found]).decode())
        return
    for row in found:
        click.echo(f"{At.of(row)}  {_state(row)}")
    if not found:
        terminal.say("No key was made here yet: `remoteweb key make USER@SERVER` makes one.")


@keys.command("make")
@SERVER
@owner_option
@with_database
def make(server: str, owner: str | None) -> None:
    """Make a key for a login, and print the line by which the server takes it."""
    with _sentences():
        _make(_login(server, owner), to_replace=False)


@keys.command("rotate")
@SERVER
@owner_option
@with_database
def rotate(server: str, owner: str | None) -> None:
    """Make a new key beside the one in use, which is destroyed once a sync came in by the new one."""
    with _sentences():
        _make(_login(server, owner), to_replace=True)
    terminal.say("Until the server takes it, the old key goes on letting in. Then take its line away there.")


@keys.command("show")
@SERVER
@owner_option
@with_database
def show(server: str, owner: str | None) -> None:
    """Print what there is to be added to, or removed from, ~/.ssh/authorized_keys at a server.

    A key that is not what was stored for this login is not shown: somebody has changed the database.
    """
    with _sentences():
        at = _login(server, owner)
        rows = made_keys.at(at)
        if not rows:
            raise click.ClickException(f"No key was made here for {at}: `remoteweb key make {at}` makes one.")
        for row in rows:
            _show_checked(row)


@keys.command("revoke")
@SERVER
@owner_option
@with_database
def revoke(server: str, owner: str | None) -> None:
    """Destroy the private half of a login's keys, and say which line is to be removed at the server."""
    with _sentences():
        at = _login(server, owner)
        rows = [row for row in made_keys.at(at) if row.state in made_keys.LIVE]
        if not rows:
            raise click.ClickException(f"There is no key of {at} that could be revoked.")
        for row in made_keys.revoke(rows):
            _show(row)


@keys.command("reseal")
@with_database
def reseal() -> None:
    """Encrypt the private halves of everybody's keys anew, under another key of keys.

    On your own machine that one is made here, and takes the place of the former one. Where you named it, put the new one before
    the former one first, on a line of its own.
    """
    upgrade_database(this_app())
    with _sentences():
        told = resealing.reseal()
    for problem in told.problems:
        click.echo(problem, err=True)
    click.echo(f"Keys that were encrypted anew: {told.count}")
    if not sealing.is_ours() and not told.problems:
        terminal.say(
            f"Nothing needs a former key any more: take it out of {sealing.where()}, if there is one."
        )
    if told.problems:
        raise click.exceptions.Exit(3)


def _make(at: At, *, to_replace: bool) -> None:
    row = made_keys.ask(at, current().name, to_replace=to_replace)
    key_id, is_wanted = row.id, row.state == WANTED
    db.session.commit()
    if is_wanted:
        try:
            key_making.make(key_id)
        except click.ClickException as error:
            made_keys.could_not_be_made(key_id, error.message)
            raise
    made = db.session.get(MadeKey, key_id, populate_existing=True)
    if made is None:
        raise click.ClickException(f"The key of {at} was revoked meanwhile, so none was made.")
    _show_checked(made)


def _show_checked(row: MadeKey) -> None:
    """Raises CannotUnseal: whose line it is then, nobody knows."""
    if row.sealed:
        key_making.opened(row)
    _show(row)


def _show(row: MadeKey) -> None:
    at = At.of(row)
    state = f"{at}  {_state(row)}"
    if row.state in (MADE, IN_USE):
        click.echo(_TO_ADD.format(state=state, login=at, lines=KeyLines.of(row.public, str(at))))
    elif row.public:
        click.echo(f"{state}\n{_TO_REMOVE.format(login=at, public=row.public)}")
    else:
        click.echo(state)


def _state(row: MadeKey) -> str:
    fingerprint = KeyLines.of(row.public, "").fingerprint if row.public else ""
    return "  ".join(filter(None, [fingerprint, WORDS[row.state], line(row.sentence, 300)]))


def _as_json(row: MadeKey) -> dict[str, Any]:
    times = {name: getattr(row, name) for name in ("asked_at", "made_at", "accepted_at", "ended_at")}
    return {"server": str(At.of(row)), "state": row.state, "public": row.public, **times}
