"""The servers and sources that are known here: found, made, paused, forgotten. Nothing on a server is touched.

Each function looks among what the viewer sees: an account's own, on a terminal the first account's or those of the one
that the command named. What another one has is not known. The worker alone asks for everybody's.
"""

import msgspec
from flask import current_app
from sqlalchemy import ColumnElement, Select, bindparam, delete, select
from sqlalchemy.exc import IntegrityError

from remotejobs.errors import RemoteJobsError
from remotejobs.records import app_name
from remoteweb import audit, changes, leases, viewer
from remoteweb.accounts import FIRST, Account
from remoteweb.database import begin_writing, db
from remoteweb.models import Action, Job, Server, Source

DEFAULT_APP = "remoteJobs-vistrails"
# No site bans a machine for talking to itself, and a tap on this machine should be carried out soon.
LOCAL_MIN_INTERVAL = 1.0

_KNOWN = select(Server).where(
    Server.owner_id == bindparam("owner"),
    Server.user == bindparam("login"),
    Server.host == bindparam("at"),
    Server.port == bindparam("number"),
)


class SourceGone(RemoteJobsError):
    """Somebody removed it while it was being synced."""

    def __init__(self) -> None:
        super().__init__("It was removed here while it was being synced. The next sync leaves it out.")


class NotYourMachine(RemoteJobsError):
    def __init__(self) -> None:
        super().__init__(
            "This machine belongs to the administrator: what runs here runs as whoever runs remoteweb. Name a server."
        )


def own() -> ColumnElement[bool]:
    """Of a server: the viewer sees it."""
    return Server.owner_id == viewer.current().owner_id


def own_server(server_id: int) -> Server | None:
    return db.session.scalar(select(Server).where(Server.id == server_id, own()))


def own_source(source_id: int) -> Source | None:
    return db.session.scalar(select(Source).join(Server).where(Source.id == source_id, own()))


def still_known(source_id: int) -> Source:
    found = db.session.get(Source, source_id)
    if found is None:
        raise SourceGone
    return found


def known(user: str, host: str, port: int) -> Server | None:
    asked = {"owner": viewer.current().owner_id, "login": user, "at": host, "number": port}
    return db.session.scalar(_KNOWN, asked)


def this_machine() -> Server:
    return server("", "", 0)


def server(
    user: str, host: str, port: int, *, alias: str = "", key_files: list[str] | None = None, way: str = ""
) -> Server:
    """The row of this login, made when it is new.

    An alias is kept as it was resolved at first; a login that was known under another spelling learns from it.
    """
    found = known(user, host, port)
    if found is not None:
        return _learned(found, alias, key_files or [], way)
    owner_id = viewer.current().owner_id
    if not host and owner_id != FIRST:
        raise NotYourMachine
    begin_writing()
    db.session.add(
        Server(
            owner_id=owner_id,
            user=user,
            host=host,
            port=port,
            alias=alias,
            key_files=msgspec.json.encode(key_files or []).decode(),
            way=way,
            min_interval=float(current_app.config["MIN_INTERVAL"]) if host else LOCAL_MIN_INTERVAL,
        )
    )
    try:
        db.session.commit()
    except IntegrityError:  # another process was quicker
        db.session.rollback()
    made = known(user, host, port)
    assert made is not None  # noqa: S101  we, or the quicker one, made it
    return made


def _learned(known: Server, alias: str, key_files: list[str], way: str) -> Server:
    """The row, with the name, the keys and the way that it lacked. What it had is kept: it let us in until now."""
    if set(key_files) <= set(_keys(known)) and (known.alias or not alias) and (known.way or not way):
        return known
    server_id = known.id
    begin_writing()
    leases.locked(server_id)
    has = _keys(known)
    keys = [*key_files, *(key for key in has if key not in key_files)]
    known.alias, known.way = known.alias or alias, known.way or way
    if set(keys) != set(has):
        known.key_files = msgspec.json.encode(keys).decode()
        known.not_before = 0.0  # it waits because of a refusal that these keys may end
    changes.start_afresh(known.owner_id)  # its name stands in every row
    db.session.commit()
    return known


def _keys(of: Server) -> list[str]:
    return msgspec.json.decode(of.key_files or "[]", type=list[str])


def set_asks(server_id: int, asks: bool) -> None:
    """Whether its logins ask for what a person types: then no sync tries one by itself."""
    server = db.session.get(Server, server_id, populate_existing=True)
    if server is not None and server.asks != asks and not server.is_local:
        begin_writing()
        db.session.execute(db.update(Server).where(Server.id == server_id).values(asks=asks))
        changes.publish(list(db.session.scalars(select(Source).where(Source.server_id == server_id))))
        db.session.commit()


def source_here(app: str = DEFAULT_APP) -> Source:
    """A source on this machine, which needs no login to be known: where the example job goes."""
    server_id = this_machine().id
    begin_writing()
    if leases.locked(server_id) is None:  # a first try that failed has just dropped it again
        return source_here(app)
    found = _source(server_id, app)
    if found is None:
        found = Source(server_id=server_id, app=app_name(app))
        db.session.add(found)
        changes.publish([found])
    db.session.commit()
    return found


def find_here(app: str) -> Source | None:
    here = known("", "", 0)
    return _source(here.id, app) if here else None


def find(app: str, at: Server) -> Source | None:
    return _source(at.id, app)


def by_alias(alias: str) -> Server | None:
    """The server that was added under this name of ~/.ssh/config: it means the same login as on that day."""
    query = select(Server).where(own(), Server.alias == alias).order_by(Server.id).limit(1)
    return db.session.scalar(query)


def with_sources() -> list[Server]:
    """Every server that has a source which is not paused, this machine first."""
    return list(db.session.scalars(_with_sources().where(own())))


def with_sources_of_everybody() -> list[Server]:
    """The same, whosever they are: for the worker. For an account that is shut out nothing goes on."""
    query = _with_sources().join(Account, Account.id == Server.owner_id).where(Account.disabled_at.is_(None))
    return list(db.session.scalars(query))


def _with_sources() -> Select[Server]:
    active = Server.sources.any(Source.paused.is_(False))
    return select(Server).where(active).order_by(Server.host != "", Server.id)


def is_any_known() -> bool:
    """Also if all are paused."""
    return db.session.scalar(select(Source.id).join(Server).where(own()).limit(1)) is not None


def set_paused(source_id: int, paused: bool) -> Source | None:
    begin_writing()
    source = own_source(source_id)
    if source is not None and source.paused != paused:
        source.paused = paused
        audit.note("paused" if paused else "resumed", *_named(source))
        changes.publish([source])
    db.session.commit()
    return source


def forget(source_id: int) -> bool:
    """Removes a source with its jobs and actions from this database. On its server everything stays as it is.

    The row of this machine stays, without sources: it says that the default source was removed on purpose.
    """
    begin_writing()
    source = own_source(source_id)
    if source is None:
        db.session.rollback()
        return False
    at, owner_id = source.server_id, source.server.owner_id
    audit.note("removed the source", *_named(source))
    db.session.expunge(source)
    leases.locked(at)
    # The actions first: a tap takes its action's lock before that of its job.
    for model, of_source in ((Action, Action.source_id), (Job, Job.source_id), (Source, Source.id)):
        db.session.execute(delete(model).where(of_source == source_id))
    _drop_unused(at, even_here=False)
    changes.start_afresh(owner_id)
    db.session.commit()
    return True


def _named(source: Source) -> tuple[str, str]:
    return source.app, f"on {source.server.label}"


def drop_if_unknown(server_id: int) -> bool:
    """A server that never answered is not known: the row that held the lease of its first try goes again."""
    begin_writing()
    _drop_unused(server_id, even_here=True)
    dropped = db.session.scalar(select(Server.id).where(Server.id == server_id)) is None
    db.session.commit()
    return dropped


def _drop_unused(server_id: int, *, even_here: bool) -> None:
    is_unused = ~select(Source.id).where(Source.server_id == server_id).exists()
    query = delete(Server).where(Server.id == server_id, Server.lease_owner == "", is_unused)
    db.session.execute(query if even_here else query.where(Server.host != ""))


def _source(server_id: int, app: str) -> Source | None:
    return db.session.scalar(select(Source).where(Source.server_id == server_id, Source.app == app))
