"""What the pages show of the syncs: one line per server, with its age, and how the last sync went, in words."""

import time
from dataclasses import dataclass, field
from typing import Any

from flask import current_app
from sqlalchemy import BindParameter

from remotejobs import gate
from remoteweb import kept, leases, trouble, viewer
from remoteweb.database import db
from remoteweb.models import Server, Source, SyncRun
from remoteweb.untrusted import line

_ANOTHER_GATE = (
    "Its gate is of another version than this one, and works; “remotejobs install-gate” renews it."
)
# A line turns amber when this many syncs in a row did not come.
MISSED = 3
# After so long, nobody seems to take a sync that was asked for.
WAITING_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class SourceLine:
    id: int
    app: str
    paused: bool
    confirmed_at: float | None
    error: str
    unreadable: int
    skipped: int


@dataclass(frozen=True, slots=True)
class ServerLine:
    """`state` is ok, syncing, late, trouble, needs_person, signed_out, never or paused; `sentence` says the same to a
    person.

    `confirmed_at`: the age of what the pages show of this server, which is that of its oldest source.
    """

    server_id: int
    label: str
    confirmed_at: float | None
    state: str
    sentence: str
    done: int = 0
    total: int | None = None
    stage: str = ""
    who: str = ""  # syncs it now
    since: float | None = None  # of a trouble
    narrow: str = ""  # a sentence on what its key is not for
    sources: list[SourceLine] = field(default_factory=list)
    kept_until: float | None = None  # of an open connection, after something was typed
    can_sign_in: bool = False
    is_local: bool = False

    @property
    def is_syncing(self) -> bool:
        return self.state == "syncing"


_IDS: BindParameter[Any] = db.bindparam("ids", expanding=True)
# Made once, since the bar of every page asks them.
_SERVERS = (
    db.select(Server)
    .where(Server.owner_id == db.bindparam("owner"), Server.sources.any())
    .order_by(Server.host != "", Server.alias, Server.host, Server.id)
)


def overview() -> list[ServerLine]:
    """Every server of the viewer's that has a source, this machine first."""
    servers = list(db.session.scalars(_SERVERS, {"owner": viewer.current().owner_id}))
    now = time.time()
    ids = [server.id for server in servers]
    current, last = _runs_under_way(ids, now), _last_runs(ids)
    return [_line(server, current.get(server.id), last.get(server.id), now) for server in servers]


def is_syncing(lines: list[ServerLine]) -> bool:
    """Something moves, so the fragment asks again soon."""
    return any(line.is_syncing for line in lines)


def _under_way() -> Any:
    is_taken = db.and_(SyncRun.state == "waiting", Server.sources.any(Source.paused.is_(False)))
    holds = db.and_(Server.lease_owner == SyncRun.holder, Server.lease_until >= db.bindparam("now"))
    return (
        db.select(SyncRun)
        .join(Server, Server.id == SyncRun.server_id)
        .where(SyncRun.server_id.in_(_IDS))
        .where(db.or_(is_taken, db.and_(SyncRun.state == "running", holds)))
        .order_by(SyncRun.state == "running", SyncRun.id)
    )


_UNDER_WAY = _under_way()


def _runs_under_way(server_ids: list[int], now: float) -> dict[int, SyncRun]:
    """Waiting ones that somebody will take, and running ones whose holder still lives: a killed program
    leaves a row that says "running", and no worker goes to a server of which every source is paused.
    """
    runs = db.session.scalars(_UNDER_WAY, {"ids": server_ids, "now": now})
    return {run.server_id: run for run in runs}


_NEWEST = (
    db.select(db.func.max(SyncRun.id))
    .where(SyncRun.server_id.in_(_IDS), SyncRun.state.in_(("done", "failed")))
    .group_by(SyncRun.server_id)
)
_LAST = db.select(SyncRun).where(SyncRun.id.in_(_NEWEST))


def _last_runs(server_ids: list[int]) -> dict[int, SyncRun]:
    return {run.server_id: run for run in db.session.scalars(_LAST, {"ids": server_ids})}


def _line(server: Server, current: SyncRun | None, last: SyncRun | None, now: float) -> ServerLine:
    sources = [
        _source_line(source) for source in sorted(server.sources, key=lambda source: source.app.lower())
    ]
    active = [source for source in sources if not source.paused]
    confirmed = [source.confirmed_at for source in active or sources]
    confirmed_at = None if None in confirmed else min(time for time in confirmed if time is not None)
    state, sentence = _state(server, current, last, active, confirmed_at, now)
    return ServerLine(
        server.id,
        line(server.label, 100),
        confirmed_at,
        state,
        sentence,
        done=current.done if current else 0,
        total=current.total if current else None,
        stage=current.stage if current else "",
        who=line(leases.who(current.holder), 100) if current and current.state == "running" else "",
        since=server.error_since,
        narrow=_narrow(server),
        sources=sources,
        kept_until=server.kept_until if kept.is_kept(server, now) else None,
        can_sign_in=state in ("needs_person", "signed_out") and not server.is_local,
        is_local=server.is_local,
    )


def _narrow(server: Server) -> str:
    if not server.narrow:
        return ""
    said = (
        "By a narrow key: its jobs are listed, cancelled and run again, and their logs read. Nothing else, so nothing is "
        "cleaned up there by itself."
    )
    return said if server.narrow == gate.build() else f"{said} {_ANOTHER_GATE}"


def _source_line(source: Source) -> SourceLine:
    return SourceLine(
        source.id,
        source.app,
        source.paused,
        source.confirmed_at,
        source.error,
        source.unreadable,
        source.skipped,
    )


def _state(
    server: Server,
    current: SyncRun | None,
    last: SyncRun | None,
    active: list[SourceLine],
    confirmed_at: float | None,
    now: float,
) -> tuple[str, str]:
    if current:
        return "syncing", _going_on(current, now - server.min_interval)
    if not active:
        return "paused", "Paused. Nothing is asked of it until you resume it."
    if server.needs_person:
        return "needs_person", server.needs_person
    if server.asks and not kept.is_kept(server, now):
        return "signed_out", "It asks for something at each login. Sign in, and it is synced."
    troubles = [server.error, *(source.error for source in active)]
    if trouble := next((error for error in troubles if error), ""):
        return "trouble", trouble
    if confirmed_at is None:
        return "never", "Not synced yet."
    sentence = last.sentence if last and last.state == "done" else ""
    if now - confirmed_at > MISSED * _interval(server):
        return "late", "Not synced for a while. Is the sync worker running?"
    return "ok", sentence


def is_left_alone(server: Server, now: float) -> bool:
    """Nobody has tried it for several intervals, though nothing was in the way: no worker is at work."""
    if server.needs_person or server.asks or server.last_try_at is None:
        return False
    is_back_off = server.not_before <= now + trouble.LONGEST_WAIT  # else by a clock that was set back
    since = max(server.last_try_at, server.not_before if is_back_off else 0.0)
    return since + MISSED * _interval(server) < now


def _interval(server: Server) -> float:
    name = "LOCAL_INTERVAL" if server.is_local else "SERVER_INTERVAL"
    return max(float(current_app.config[name]), server.min_interval, 20.0)


def _going_on(run: SyncRun, now: float) -> str:
    if run.state == "waiting":
        is_late = run.asked_at < now - WAITING_SECONDS
        return "Waiting for the sync worker. Is it running?" if is_late else "Waiting for its turn."
    if run.stage == "writing" and run.total:
        return f"Storing {run.done:,} of {run.total:,} jobs."
    return {"reading": "Reading the records.", "writing": "Storing what changed."}.get(
        run.stage, "Connecting."
    )
