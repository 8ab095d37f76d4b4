"""What every command has around it: the app's context, and a sentence where the database fails."""

import functools
from collections.abc import Callable
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import DBAPIError

from remoteweb.accounts import GUEST, Account
from remoteweb.database import db
from remoteweb.untrusted import line
from remoteweb.upgrade import unusable
from remoteweb.viewer import Viewer, become


def with_database(command: Callable[..., Any]) -> Callable[..., Any]:
    """For the function of a command. Its database may be locked, damaged or gone at any of its queries."""

    @functools.wraps(command)
    def guarded(*args: Any, **options: Any) -> Any:
        click.get_current_context().call_on_close(_leave)
        try:
            return command(*args, **options)
        except DBAPIError as error:
            raise unusable(error) from error

    return with_appcontext(guarded)


def this_app() -> Flask:
    """The app that the command works for."""
    return current_app._get_current_object()  # type: ignore[attr-defined,no-any-return]


def _leave() -> None:
    """PostgreSQL is told that nobody is there any more."""
    db.session.remove()
    db.engine.dispose()


owner_option = click.option(
    "--owner",
    metavar="NAME",
    help="The account whose servers and jobs are meant. By default the administrator's.",
)


def work_for(owner: str | None) -> None:
    """From here on the command sees what this account sees. The database has to be up to date."""
    if owner is None:
        return
    account = db.session.scalar(db.select(Account).where(Account.name == owner.strip().lower()))
    if account is None:
        raise click.ClickException(f"There is no account called {line(owner, 60)}.")
    if account.role == GUEST:
        raise click.ClickException(f"{account.name} is a guest, and has no servers and no jobs of its own.")
    become(Viewer(account.id, account.name, account.role, account.id))
