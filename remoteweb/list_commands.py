"""`remoteweb sources` and `remoteweb jobs`: what the pages list, in a terminal."""

import time
from typing import Any

import click
import msgspec
from flask import current_app
from sqlalchemy import Select, select

from remotejobs.destination import Destination
from remotejobs.records import JobState
from remoteweb import sources, terminal, viewer
from remoteweb.commands import owner_option, with_database, work_for
from remoteweb.database import db
from remoteweb.models import Job, Server, Source
from remoteweb.untrusted import line
from remoteweb.upgrade import upgrade_database

NO_SOURCE = "No source is known yet: `remoteweb update-database APP [USER@]SERVER` makes one known."
NO_JOB = "No job is known yet: `remoteweb update-database` fetches what there is."


@click.command("sources")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@owner_option
@with_database
def list_sources(as_json: bool, owner: str | None) -> None:
    """List the sources that are known, with the age of what is known of them."""
    upgrade_database(current_app._get_current_object())  # type: ignore[attr-defined]
    work_for(owner)
    found = list(db.session.scalars(db.select(Source).join(Server).where(sources.own()).order_by(Source.id)))
    if as_json:
        click.echo(msgspec.json.encode([_source_row(source) for source in found]).decode())
        return
    for source in found:
        click.echo(f"{source.app}  {_place(source.server)}  {_condition(source)}")
    if not found:
        terminal.say(NO_SOURCE)


def _source_row(source: Source) -> dict[str, Any]:
    return {
        "app": source.app,
        "server": _login(source.server),
        "alias": line(source.server.alias),
        "confirmed_at": source.confirmed_at,
        "state": "paused" if source.paused else _trouble(source) or "ok",
    }


def _place(server: Server) -> str:
    """The name that it was added under and the login that it means."""
    return f"{line(server.alias)} ({_login(server)})" if server.alias else _login(server)


def _login(server: Server) -> str:
    if server.is_local:
        return "this machine"
    return str(Destination(server.host, server.port, server.user, port_given=True))


def _condition(source: Source) -> str:
    trouble = _trouble(source)
    parts = ["paused"] if source.paused else []
    parts.append("never confirmed" if source.confirmed_at is None else f"confirmed {_age(source)}")
    return ", ".join([*parts, f"in trouble: {trouble}"] if trouble else parts)


def _trouble(source: Source) -> str:
    return line(source.server.needs_person or source.server.error or source.error, 500)


def _age(source: Source | None) -> str:
    """How long ago a sync confirmed what is known of it."""
    from remoteweb.jobs.times import duration

    if source is None or source.confirmed_at is None:
        return "never confirmed"
    return f"{duration(time.time() - source.confirmed_at)} ago".replace("\u00a0", " ")


@click.command("jobs")
@click.option(
    "--state", type=click.Choice([state.value for state in JobState]), help="Only jobs in this one."
)
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many."
)
@owner_option
@with_database
def list_jobs(state: str | None, as_json: bool, limit: int, owner: str | None) -> None:
    """List the jobs as the page does: what needs you first, the newest change first in each group.

    After each, in brackets: who says so, and how long ago that was confirmed.
    """
    upgrade_database(current_app._get_current_object())  # type: ignore[attr-defined]
    work_for(owner)
    query = _own_jobs().order_by(Job.group, Job.change.desc(), Job.id.desc()).limit(limit)
    found = list(db.session.scalars(query.where(Job.state == state) if state else query))
    if as_json:
        click.echo(msgspec.json.encode([_job_row(job) for job in found]).decode())
        return
    for job in found:
        click.echo(_job_line(job))
    if not found:
        terminal.say(_why_none(state))


def _own_jobs() -> Select[Job]:
    return select(Job).where(Job.owner_id == viewer.current().owner_id)


def _why_none(state: str | None) -> str:
    if not sources.is_any_known():
        return NO_SOURCE
    if state is None or db.session.scalar(_own_jobs().limit(1)) is None:
        return NO_JOB
    return f"No job is {state}."


def _job_line(job: Job) -> str:
    from remoteweb.jobs.words import witness

    known_as = line(job.scheduler_id) or job.key or ""
    said = f"({line(witness(job.evidence))}, {_age(job.source)})"
    return f"{job.state:<10} {line(job.name)}  {known_as}  {line(job.server.label)}  {said}"


def _job_row(job: Job) -> dict[str, Any]:
    return {
        "key": job.key,
        "name": line(job.name),
        "server": line(job.server.label),
        "app": job.source.app if job.source else "",
        "scheduler": job.scheduler,
        "scheduler_id": line(job.scheduler_id),
        "state": job.state,
        "reason": job.reason,
        "evidence": job.evidence,
        "confirmed_at": job.source.confirmed_at if job.source else None,
        "exit_code": job.exit_code,
        "submitted": job.submitted,
        "started": job.started,
        "ended": job.ended,
    }
