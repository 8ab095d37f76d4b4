"""A sync that a command makes: perhaps a person is at the terminal, perhaps it is cron."""

import time
from dataclasses import dataclass

from remotejobs.destination import Destination
from remotejobs.errors import HostKeyUnknown, LoginRefused
from remoteweb import audit, collector, connect, sources, terminal
from remoteweb.database import db
from remoteweb.kept import SignInNeeded
from remoteweb.models import Server
from remoteweb.syncs import SyncResult


@dataclass(slots=True)
class Target:
    """A server to sync: all its sources (apps None), or the one that was named."""

    server_id: int
    label: str
    apps: list[str] | None


def sync(target: Target, password: str | None, timeout: float, bar: terminal.Bar) -> SyncResult:
    """One sync. What only a person can answer is asked on a terminal, and then it goes on."""
    by_a_person = password is not None or terminal.is_interactive()
    accept = _Accept(bar) if terminal.is_interactive() else None
    person = terminal.Person(bar.close) if terminal.is_interactive() else None
    again = False
    while True:
        server = db.session.get_one(Server, target.server_id)
        if not by_a_person:
            _refuse_what_is_hopeless(server)
        known = {source.app for source in server.sources}
        try:
            result = collector.collect(
                server,
                connect.by_hand(password, timeout, accept, person),
                apps=target.apps,
                asked_by="person" if by_a_person else "command",
                listener=bar,
                ignore_interval=again,  # to type took longer than that, and it is still the same try
                timeout=timeout,
            )
        except LoginRefused:
            bar.close()
            if person is None or person.gave_up or password is not None:
                raise
            password, again = _ask(target), True
        else:
            _note_new(target, known)
            if person is not None:
                sources.set_asks(target.server_id, person.was_needed or password is not None)
            return result


def _note_new(target: Target, known: set[str]) -> None:
    server = db.session.get_one(Server, target.server_id)
    for app in sorted({source.app for source in server.sources} - known):
        audit.note("added the source", app, f"on {server.label}")
    db.session.commit()


class _Accept:
    """Asks about a host key while the connection waits."""

    def __init__(self, bar: terminal.Bar) -> None:
        self.bar = bar

    def __call__(self, error: HostKeyUnknown) -> bool:
        self.bar.close()
        return terminal.accepts(error)


def _ask(target: Target) -> str:
    """The password. Where a server was named, so is the user name; another one is another login, so another
    row.
    """
    server = db.session.get_one(Server, target.server_id)
    user = server.user
    db.session.expunge(server)
    db.session.rollback()  # nothing of the database is held while a person types
    terminal.say(f"No key lets us in to {target.label}.")
    if target.apps is not None:
        user = terminal.ask_user(server.user)
    password = terminal.ask_password(user)
    if user != server.user:
        host, port, alias = Destination(server.host, server.port, user).host, server.port, server.alias
        # The alias goes along, unless the row that had it is in use.
        alias = alias if sources.drop_if_unknown(server.id) else ""
        target.server_id = sources.server(user, host, port, alias=alias).id
    return password


def _refuse_what_is_hopeless(server: Server) -> None:
    """Under cron, a refused login is not repeated each minute: it would only count towards a ban."""
    if server.asks:
        raise SignInNeeded(server.label)
    left = server.not_before - time.time()
    if server.needs_person and left > 0:
        raise LoginRefused(
            f"{server.needs_person} Not tried again for {left / 60:.0f} min, except from a terminal."
        )
