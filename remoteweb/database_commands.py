"""Commands on the database itself: bring it to this version, copy it."""

import contextlib
import os
import sqlite3
from pathlib import Path

import click
from flask import current_app

from remoteweb.commands import with_database
from remoteweb.database import db, shown
from remoteweb.upgrade import copy_whole, upgrade_database


@click.command("migrate")
@with_database
def migrate() -> None:
    """Create the database, or bring it to this version. All that serves or syncs does so at its start."""
    upgrade_database(current_app._get_current_object())  # type: ignore[attr-defined]
    click.echo(f"The database {shown(db.engine.url)} is of this version.")


@click.command("backup")
@click.argument("path", type=click.Path(path_type=Path))
@with_database
def backup(path: Path) -> None:
    """Copy the database to PATH, whole and checked, also while it is written. PATH must not be there yet."""
    url = db.engine.url
    if url.drivername != "sqlite":
        raise click.ClickException("PostgreSQL has its own backups: pg_dump makes one.")
    if not Path(str(url.database)).is_file():
        raise click.ClickException(f"There is no database {url.database} yet.")
    if path.exists():
        raise click.ClickException(f"{path} is there already, and was left as it is.")
    draft = path.with_name(path.name + ".part")
    try:
        copy_whole(Path(str(url.database)), draft, 0o600)
        _check(draft)
        os.link(draft, path)  # unlike a rename, it replaces nothing that came meanwhile
    except (OSError, sqlite3.Error) as error:
        raise click.ClickException(f"{path} could not be written: {error}.") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    click.echo(f"{path}: {path.stat().st_size} bytes, whole.")


def _check(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as copy:
        found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"the database is damaged ({found})")
