"""The way to a server: its row becomes a shell, and what a person types becomes its row."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from flask import current_app
from sqlalchemy.exc import DBAPIError

from remotejobs.aliases import resolve
from remotejobs.destination import Destination
from remotejobs.errors import HostKeyUnknown, LoginRefused
from remotejobs.prompts import Prompter
from remotejobs.shell import LocalShell, Shell, SSHShell
from remotejobs.target import Target
from remoteweb import audit, hostkeys, key_making, made_keys, sources, viewer
from remoteweb.accounts import ADMINISTRATOR, FIRST, Account
from remoteweb.database import db
from remoteweb.given_keys import given_keys
from remoteweb.made_keys import At
from remoteweb.models import Server, Source
from remoteweb.paths import state_folder

CONNECT_SECONDS = 20.0


def unattended(server: Server) -> Shell:
    """For the worker, and nobody to ask: the key that was made for this login, else the keys that it was given, else the agent
    and the keys of whoever started it.
    """
    if server.is_local:
        return LocalShell()
    _refuse_what_is_revoked(server)
    return _over_ssh(server, connect_timeout=CONNECT_SECONDS)


def _refuse_what_is_revoked(server: Server) -> None:
    """Where nothing else opens a server, no connection is made for nothing."""
    at = At.of(server)
    if not _is_an_administrators(server) and made_keys.was_revoked(at) and not made_keys.live(at):
        raise LoginRefused(
            f"The key that was made here for {at} was revoked, and no other is there. Nothing was sent. Make another one, or "
            "sign in."
        )


def asking(server: Server, way: str, prompter: Prompter, logged_in: Callable[[], None]) -> SSHShell:
    """For a login that a person began on a page, by this way (as Server.way), and who answers there."""
    return _over_ssh(server, way, prompter=prompter, logged_in=logged_in, connect_timeout=CONNECT_SECONDS)


def by_hand(
    password: str | None,
    timeout: float,
    accept: Callable[[HostKeyUnknown], bool] | None = None,
    prompter: Prompter | None = None,
) -> Callable[[Server], Shell]:
    """For a command: a password if one was given, and somebody to ask, if somebody is there."""

    def shell(server: Server) -> Shell:
        return (
            LocalShell()
            if server.is_local
            else _over_ssh(
                server,
                password=password,
                prompter=prompter,
                accept_host_key=accept,
                store_host_key=_Stored(server.owner_id),
                connect_timeout=min(CONNECT_SECONDS, timeout),
            )
        )

    return shell


def _over_ssh(server: Server, way: str | None = None, **options: Any) -> SSHShell:
    home = Path.home()
    keys, accepted = _own_keys(server), hostkeys.lines(server.owner_id)
    target = _target(server, server.way if way is None else way)
    if not keys["allow_agent"]:  # what the way itself names are files of whoever runs this program
        target = _without_keys(target)
    made = _made_keys(server)
    db.session.rollback()  # nothing of the database is held while it connects
    return SSHShell(
        target,
        config=False,  # the alias was resolved when the server was added, and is not asked again
        **keys,
        **made,
        # What ssh knows counts as well, and what earlier versions accepted lies in a file of ours: whoever had this
        # program then is the first account now.
        known_hosts=[
            *([state_folder() / "known_hosts"] if server.owner_id == FIRST else []),
            home / ".ssh" / "known_hosts",
            Path("/etc/ssh/ssh_known_hosts"),
        ],
        extra_host_keys=accepted,
        **options,
    )


def _target(server: Server, way: str) -> Target:
    told = msgspec.json.decode(way or "{}", type=dict[str, Any])
    return Target.from_dict({**told, "host": server.host, "port": server.port, "user": server.user})


def _without_keys(target: Target) -> Target:
    bare = [replace(jump, key_files=(), certificate_files=()) for jump in target.jumps]
    return replace(target, key_files=(), certificate_files=(), jumps=tuple(bare))


def _own_keys(server: Server) -> dict[str, Any]:
    """The keys of whoever runs this program open the servers of an administrator alone: another account would come in
    with them wherever it likes.
    """
    if not _is_an_administrators(server):
        return {"keys": [], "allow_agent": False, "look_for_keys": False}
    keys = msgspec.json.decode(server.key_files, type=list[str])
    given = given_keys(current_app.config["SSH_KEYS"])
    if given is not None:
        keys = [str(key) for key in given if str(key) in keys] or [str(key) for key in given]
    return {"keys": keys, "allow_agent": given is None, "look_for_keys": given is None and not keys}


def _is_an_administrators(server: Server) -> bool:
    account = db.session.get(Account, server.owner_id)
    return account is not None and account.role == ADMINISTRATOR


def _made_keys(server: Server) -> dict[str, Any]:
    """The key that was made for this login is all that its server is shown; of two, the new one first.

    One that was made for a server which has let us in otherwise until now is tried before the other ways, and takes their
    place once the server has taken it. Raises CannotUnseal.
    """
    at = At.of(server)
    rows = made_keys.live(at)
    if not rows:
        return {}
    is_new = any(row.accepted_at is None for row in rows)
    opens = any(row.accepted_at is not None for row in rows)
    return {
        "held_keys": [key_making.opened(row) for row in rows],
        "only_held_keys": opens or not _is_known(server),
        "key_accepted": _Accepted(at) if is_new else None,
    }


def _is_known(server: Server) -> bool:
    return db.session.scalar(db.select(Source.id).where(Source.server_id == server.id).limit(1)) is not None


class _Accepted:
    """That a server takes a new key is noted once. Where the database does not take that, the next login tells it again."""

    def __init__(self, at: At) -> None:
        self._at = at

    def __call__(self, blob: bytes) -> None:
        try:
            made_keys.accepted(self._at, blob)
        except DBAPIError as error:
            db.session.rollback()
            current_app.logger.warning(
                "It could not be noted that %s takes its new key: %s", self._at, error.orig
            )


class _Stored:
    """A host key that was accepted on a terminal goes into the account's table."""

    def __init__(self, owner_id: int) -> None:
        self._owner_id = owner_id

    def __call__(self, unknown: HostKeyUnknown) -> None:
        key = hostkeys.accept(self._owner_id, unknown.line, viewer.current().name)
        audit.note("accepted a host key", f"{key.name} {key.type} {key.fingerprint}", "on a terminal")
        db.session.commit()


def server_named(text: str) -> Server:
    """The row of what a person typed, made when it is new. Raises BadDestination, LoginError."""
    destination = Destination.parse(text)
    is_bare = destination.user is None and not destination.port_given
    if is_bare and (known := sources.by_alias(destination.host)):
        return known
    target = resolve(destination, _config())
    # Only the bare name is an alias: with a user or a port before or after it, it means something else.
    alias = destination.host if is_bare and target.host != destination.host else ""
    keys = [str(path) for path in target.key_files]
    return sources.server(
        target.user, target.host, target.port, alias=alias, key_files=keys, way=_way(target)
    )


def known_server(text: str) -> Server | None:
    """The same, without making one."""
    at = login_named(text)
    return sources.known(at.user, at.host, at.port)


def login_named(text: str) -> At:
    """Which login of the viewer's is meant, whether its server is known yet or not. Raises BadDestination, LoginError."""
    destination = Destination.parse(text)
    if (
        destination.user is None
        and not destination.port_given
        and (known := sources.by_alias(destination.host))
    ):
        return At.of(known)
    target = resolve(destination, _config())
    return At(viewer.current().owner_id, target.user, target.host, target.port)


def _way(target: Target) -> str:
    """What of it has no column of its own."""
    own = {"host", "port", "user", "key_files"}
    told = {name: value for name, value in target.as_dict().items() if name not in own}
    return msgspec.json.encode(told).decode() if told else ""


def _config() -> Path:
    return Path.home() / ".ssh" / "config"
