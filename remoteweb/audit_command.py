"""`remoteweb audit`: what was done by whom, and whether anybody has changed it since."""

import sys
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from flask import current_app

from remoteweb import audit, terminal
from remoteweb.accounts import Audit
from remoteweb.commands import with_database
from remoteweb.untrusted import line
from remoteweb.upgrade import upgrade_database


@click.command("audit")
@click.option(
    "--verify", is_flag=True, help="Check the chain, and print its last digest, to be kept elsewhere."
)
@click.option(
    "--head", default="", metavar="DIGEST", help="With --verify: one that was kept, which has to be in it."
)
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many."
)
@with_database
def show_audit(verify: bool, head: str, as_json: bool, limit: int) -> None:
    """List what was done by whom, the latest first: sign-ins, servers, keys and actions.

    \b
    Exit status of --verify: 0 nothing was changed, 1 something was.
    """
    upgrade_database(current_app._get_current_object())  # type: ignore[attr-defined]
    if verify or head:
        sys.exit(_verified(head.strip().lower()))
    rows = audit.latest(limit)
    if as_json:
        click.echo(msgspec.json.encode([_as_json(row) for row in rows]).decode())
        return
    for row in rows:
        click.echo(_as_line(row))
    if not rows:
        terminal.say("Nothing was done yet.")


def _verified(head: str) -> int:
    verdict = audit.verify(head)
    if verdict.broken_at is not None:
        terminal.complain(f"{verdict.sentence} The {verdict.rows} before it are as they were written.")
        return 1
    click.echo(f"{verdict.rows} rows, each as it was written. The last digest: {verdict.head or 'none yet'}")
    return 0


def _as_line(row: Audit) -> str:
    at = datetime.fromtimestamp(row.at, UTC)
    said = " ".join(line(word) for word in (row.who, row.what, row.subject) if word)
    more = ", ".join(line(word, 500) for word in (row.detail, row.address and f"from {row.address}") if word)
    return f"{row.id:>6}  {at:%Y-%m-%dT%H:%M:%SZ}  {said}" + (f"  ({more})" if more else "")


def _as_json(row: Audit) -> dict[str, Any]:
    names = ("id", "at", "account_id", "who", "address", "what", "subject", "detail", "digest")
    return {name: getattr(row, name) for name in names}
