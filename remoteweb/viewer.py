"""Who looks: the account that a request comes from, or the one that a command works for."""

from dataclasses import dataclass

from flask import g, has_request_context

from remoteweb.accounts import ADMINISTRATOR, FIRST, GUEST, Account
from remoteweb.database import db


@dataclass(frozen=True, slots=True)
class Viewer:
    account_id: int
    name: str
    role: str
    owner_id: int  # whose servers and jobs it sees: its own, or those that it is a guest of
    session_id: int | None = None  # None: a terminal
    proved_at: float = 0.0  # the last proof that it is the person, our clock
    by_password_alone: bool = False  # lets the account in: there is no code beside it

    @property
    def is_administrator(self) -> bool:
        return self.role == ADMINISTRATOR

    @property
    def is_guest(self) -> bool:
        """Looks only: asks for no sync and no action, and sees no script and no log."""
        return self.role == GUEST

    @property
    def has_this_machine(self) -> bool:
        """What runs here runs as whoever runs the program, so it is the first account's alone."""
        return self.owner_id == FIRST and not self.is_guest


TERMINAL = Viewer(FIRST, "admin", ADMINISTRATOR, FIRST)


def current() -> Viewer:
    """Who is signed in; on a terminal the first account, unless the command named another.

    Raises LookupError in a request of nobody: only what stands in OPEN is reached by one, and that shows nothing.
    """
    viewer: Viewer | None = g.get("viewer")
    if viewer is None and has_request_context():
        raise LookupError("Nobody is signed in.")
    return viewer or TERMINAL


def of_account(account_id: int) -> Viewer:
    """For what is done for an account while it is not there: no session, and no proof."""
    account = db.session.get_one(Account, account_id)
    return Viewer(account.id, account.name, account.role, account.sees)


def become(viewer: Viewer | None) -> None:
    """For this request, or for this command."""
    g.viewer = viewer


def is_guest() -> bool:
    """Also asked where nobody is signed in, which is no guest."""
    viewer: Viewer | None = g.get("viewer")
    return viewer is not None and viewer.is_guest
