"""`remoteweb host-keys`: the host keys that were accepted here, and how one is taken back."""

from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from remoteweb import hostkeys, terminal
from remoteweb.accounts import HostKey
from remoteweb.commands import owner_option, this_app, with_database, work_for
from remoteweb.database import db
from remoteweb.hostkeys import KeyLine
from remoteweb.untrusted import line
from remoteweb.upgrade import upgrade_database
from remoteweb.viewer import current


@click.group("host-keys")
def host_keys() -> None:
    """List the host keys that were accepted here, or take one back."""


def _accepted(owner: str | None) -> list[HostKey]:
    upgrade_database(this_app())
    work_for(owner)
    return hostkeys.accepted(current().owner_id)


@host_keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@owner_option
@with_database
def list_host_keys(as_json: bool, owner: str | None) -> None:
    """List them: name, type, fingerprint, and who accepted it when.

    Those in the file known_hosts of ssh count as well, and are not listed.
    """
    found = _accepted(owner)
    if as_json:
        click.echo(msgspec.json.encode([_as_json(row) for row in found]).decode())
        return
    for row in found:
        click.echo(_as_line(row))
    if not found:
        terminal.say("No host key was accepted here yet.")


@host_keys.command("forget")
@click.argument("name")
@click.argument("fingerprint", required=False)
@owner_option
@with_database
def forget_host_key(name: str, fingerprint: str | None, owner: str | None) -> None:
    """Accept the key of NAME no more: the next login there is refused until somebody accepts its key again.

    NAME is as `remoteweb host-keys list` prints it; if it has several keys, FINGERPRINT says which one is meant.
    """
    of_name = [row for row in _accepted(owner) if row.name == name]
    meant = [row for row in of_name if fingerprint in (None, _key(row).fingerprint)]
    if not meant:
        which = "such host key" if of_name else "host key"
        raise click.BadParameter(
            f"No {which} of {line(name, 300)} was accepted here: see `remoteweb host-keys list`."
        )
    if len(meant) > 1:
        listed = "\n".join(f"    {_key(row).fingerprint}" for row in meant)
        raise click.UsageError(f"{line(name, 300)} has several keys. Name one of them after it:\n{listed}")
    gone = hostkeys.remove(meant[0].id, current().owner_id, "on a terminal")
    db.session.commit()
    if gone is None:
        raise click.ClickException(f"The key of {line(name, 300)} was taken back by somebody else meanwhile.")
    terminal.say(
        f"The key of {gone.name} is not accepted any more. The next login there asks about it again."
    )


def _key(row: HostKey) -> KeyLine:
    return KeyLine(row.name, row.type, row.key)


def _as_line(row: HostKey) -> str:
    at = datetime.fromtimestamp(row.accepted_at, UTC)
    who = f"accepted by {line(row.accepted_by, 100)}, {at:%Y-%m-%dT%H:%M:%SZ}"
    return f"{row.name}  {row.type}  {_key(row).fingerprint}  ({who})"


def _as_json(row: HostKey) -> dict[str, Any]:
    names = ("name", "type", "key", "accepted_by", "accepted_at")
    return {name: getattr(row, name) for name in names} | {"fingerprint": _key(row).fingerprint}
