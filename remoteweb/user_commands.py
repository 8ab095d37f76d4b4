"""The commands about accounts: made, invited, shut out, and let in again after everything was lost."""

import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click
from flask import current_app

from remoteweb import serving, terminal
from remoteweb.access import entry, passwords, people
from remoteweb.accounts import ADMINISTRATOR, FIRST, GUEST, USER, Account
from remoteweb.commands import this_app, with_database
from remoteweb.database import db, shown
from remoteweb.upgrade import upgrade_database

NAME = click.argument("name")
P = ParamSpec("P")
T = TypeVar("T")


@click.command("create-user")
@NAME
@click.option("--administrator", is_flag=True, help="May see and do everything, and let others in.")
@click.option(
    "--guest-of", metavar="NAME", help="Looks at that account's servers and jobs, and does nothing."
)
@click.option("--invite", is_flag=True, help="Ask for no password: print an invitation.")
@with_database
def create_user(name: str, administrator: bool, guest_of: str | None, invite: bool) -> None:
    """Make an account: with a password that is asked for, or with an invitation that enrols a phone.

    The first one that is made where nobody has come in yet is the administrator, and has what was added on the terminal.
    """
    upgrade_database(this_app())
    if administrator and guest_of:
        raise click.UsageError("A guest is no administrator.")
    password = None if invite or not terminal.is_interactive() else _ask_password(name, may_be_empty=True)
    owner = _named(guest_of).id if guest_of else None
    role = GUEST if guest_of else ADMINISTRATOR if administrator else USER
    account = _or_sentence(people.create, name, role, owner)
    click.echo(_what_it_is(account))
    if password:
        people.set_password(account, password)
    else:
        _print_invitation(account)


@click.command("invite")
@NAME
@with_database
def invite(name: str) -> None:
    """Print a link, and its QR code, that lets a phone in to an account, once, within a day."""
    upgrade_database(this_app())
    _print_invitation(_named(name))


@click.command("set-password")
@NAME
@with_database
def set_password(name: str) -> None:
    """Set the password of an account. Every browser of it is signed out."""
    upgrade_database(this_app())
    account = _named(name)
    if not terminal.is_interactive():
        raise click.ClickException("A password is typed on a terminal. `remoteweb invite` needs none.")
    people.set_password(account, _ask_password(account.name))
    click.echo(f"The password of {account.name} is set. Every browser of it is signed out.")


@click.command("disable-user")
@NAME
@with_database
def disable_user(name: str) -> None:
    """Shut an account out: signed out everywhere, and not let in any more. What it has stays."""
    upgrade_database(this_app())
    account = _named(name)
    _or_sentence(people.disable, account)
    click.echo(f"{account.name} is signed out everywhere, and comes in no more.")


@click.command("enable-user")
@NAME
@with_database
def enable_user(name: str) -> None:
    """Let an account in again that was shut out."""
    upgrade_database(this_app())
    account = _named(name)
    people.enable(account)
    click.echo(f"{account.name} may come in again.")


@click.command("reset-sign-in")
@NAME
@with_database
def reset_sign_in(name: str) -> None:
    """Where phone and password are lost: remove every way in of an account, and print an invitation."""
    upgrade_database(this_app())
    account = _named(name)
    people.forget_ways_in(account)
    click.echo(
        f"{account.name} has no password, no passkey and no code any more, and is signed out everywhere."
    )
    _print_invitation(account)


@click.command("users")
@with_database
def users() -> None:
    """List the accounts."""
    upgrade_database(this_app())
    accounts = people.all_of_them()
    names = {account.id: account.name for account in accounts}
    for account in accounts:
        role = f"guest of {names[account.guest_of]}" if account.guest_of else account.role
        ways = ", ".join(people.ways_in(account)) or "only by link or invitation"
        click.echo(f"{account.name:20} {role:20} {'shut out' if account.disabled_at else ways}")


COMMANDS = (create_user, invite, set_password, disable_user, enable_user, reset_sign_in, users)


def _named(name: str) -> Account:
    return _or_sentence(people.named, name)


def _or_sentence(do: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    try:
        return do(*arguments, **options)
    except people.Refused as error:
        db.session.rollback()
        raise click.ClickException(str(error)) from None


def _ask_password(name: str, *, may_be_empty: bool = False) -> str:
    """Twice, on the terminal; neither in an argument, which every user of the machine can read, nor in the history."""
    label = "Password (none: an invitation)" if may_be_empty else "Password"
    while True:
        password: str = click.prompt(
            label, hide_input=True, err=True, default="" if may_be_empty else None, show_default=False
        )
        if not password and may_be_empty:
            return ""
        try:
            passwords.refuse_weak(password, name.strip().lower())
        except passwords.WeakPassword as error:
            terminal.complain(str(error))
            continue
        if click.prompt("Once more", hide_input=True, err=True, default="", show_default=False) == password:
            return password
        terminal.complain("The two are not the same.")


def _what_it_is(account: Account) -> str:
    if account.id == FIRST:
        return f"{account.name} is the administrator, and has what was and will be added on this machine's terminal."
    if account.role == GUEST:
        return f"{account.name} is a guest, who looks and does nothing."
    return f"{account.name} is {'an administrator' if account.role == ADMINISTRATOR else 'a user'}."


def _print_invitation(account: Account) -> None:
    if account.disabled_at is not None:
        raise click.ClickException(
            f"{account.name} is shut out. `remoteweb enable-user {account.name}` comes first."
        )
    link = entry.new_invitation(account, _base_url())
    click.echo(
        f"This invites {account.name}, once, within a day. Whoever opens it first comes in:\n\n{link}\n"
    )
    if sys.stdout.isatty():
        _print_picture(link)


def _print_picture(link: str) -> None:
    """For a phone's camera, where the terminal can show it."""
    import segno

    try:
        "▀▄█".encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return
    segno.make(link, error="l").terminal(compact=True)


def _base_url() -> str:
    public: str = current_app.config["PUBLIC_URL"]
    if public:
        return public
    terminal.say(
        "Only this machine itself can open it. For a phone the pages need a public name: REMOTEWEB_PUBLIC_URL."
    )
    ports = serving.ports(shown(db.engine.url)) or [serving.DEFAULT_PORT]
    return f"http://localhost:{ports[0]}"
