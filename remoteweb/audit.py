"""What was done by whom: rows that are only added, each one's digest over its own words and the digest before it.

What the chain is worth: nothing in it can be changed, taken out or put in between without every later digest changing,
so whoever noted one digest elsewhere (`remoteweb audit --verify` prints the last one, REMOTEWEB_AUDIT_TO_LOG writes each
into the program's log) can tell. Who can write the whole database can make the whole chain anew; a key would not hinder
whoever holds this program, since the program would hold the key. The database's own triggers refuse to change or
delete a row: they stop a mistake and an injected statement, not the owner of the database.
"""

import hashlib
import json
import logging
import time
from contextlib import closing
from dataclasses import dataclass

from flask import current_app, has_request_context, request
from sqlalchemy import event, select, update
from sqlalchemy.orm import Session

from remoteweb import viewer
from remoteweb.accounts import Audit
from remoteweb.database import begin_writing, db
from remoteweb.models import Counter
from remoteweb.untrusted import line
from remoteweb.viewer import Viewer

PROGRAM = "remoteweb"  # who: the program itself, asked by nobody
STRANGER = "a stranger"  # who: somebody that is not signed in
BEFORE_THE_FIRST = ""
LONGEST = {"who": 100, "address": 60, "what": 60, "subject": 200, "detail": 500}
_NOTED, _WRITTEN = (
    "audit_noted",
    "audit_written",
)  # in the session: what waits for its commit, what waits for its log line
log = logging.getLogger("remoteweb.audit")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`broken_at` is the number of the first row that does not follow from what stands before it; None: all is whole."""

    rows: int
    head: str  # the last digest
    broken_at: int | None = None
    sentence: str = ""


def note(what: str, subject: str = "", detail: str = "", who: Viewer | str | None = None) -> None:
    """Note what is done, in the caller's transaction: with it the row comes, without it it does not.

    `what` is a few words after a name ("asked to cancel"), `subject` what it was done to, `detail` what else tells it
    from others. Never a secret, and nothing that somebody typed who is not known: it may be a password in the wrong field.
    `who` is by default the viewer. The words are cleaned of what a terminal or a page would obey.
    """
    begin_writing()
    by = viewer.current() if who is None else who
    words = {
        "who": by if isinstance(by, str) else by.name,
        "address": request.remote_addr or "" if has_request_context() else "",
        "what": what,
        "subject": subject,
        "detail": detail,
    }
    row = {name: line(value, LONGEST[name]) for name, value in words.items()}
    account_id = None if isinstance(by, str) else by.account_id
    db.session().info.setdefault(_NOTED, []).append({**row, "at": time.time(), "account_id": account_id})


@event.listens_for(Session, "before_commit")
def _write(session: Session) -> None:
    """The last thing in its transaction: the chain's lock comes after every other, whatever the caller's order was.

    So the rows' order is that of the commits, and two writers never wait for each other.
    """
    noted = session.info.pop(_NOTED, [])
    if not noted:
        return
    session.flush()
    link = update(Counter).where(Counter.name == "audit").returning(Counter.value)
    last = session.scalar(link.values(value=Counter.value + len(noted)))
    assert last is not None, "the migration creates the counter of the audit log"  # noqa: S101  for mypy
    first = last - len(noted) + 1
    digest = session.scalar(select(Audit.digest).where(Audit.id == first - 1)) or BEFORE_THE_FIRST
    for number, values in enumerate(noted, first):
        row = Audit(id=number, **values)
        digest = row.digest = digest_of(row, digest)
        session.add(row)
        session.info.setdefault(_WRITTEN, []).append((number, digest, values["who"], values["what"]))
    session.flush()


@event.listens_for(Session, "after_commit")
def _tell(session: Session) -> None:
    written = session.info.pop(_WRITTEN, [])
    if written and current_app.config["AUDIT_TO_LOG"]:
        for number, digest, who, what in written:
            log.warning("audit %s %s: %s %s", number, digest, who, what)


@event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    session.info.pop(_NOTED, None)
    session.info.pop(_WRITTEN, None)


def digest_of(row: Audit, before: str) -> str:
    """SHA-256, in hex, of the row's canonical words: a JSON list that begins with the digest of the row before."""
    words = [before, row.id, row.at, row.account_id, row.who, row.address, row.what, row.subject, row.detail]
    return hashlib.sha256(json.dumps(words, separators=(",", ":")).encode()).hexdigest()


def verify(noted: str = "") -> Verdict:
    """Whether every row follows from the one before it, none is missing, and `noted`, a digest kept elsewhere, is among them."""
    everything = select(Audit).order_by(Audit.id).execution_options(yield_per=1000)
    with closing(db.session.scalars(everything)) as rows:
        digest, number, is_there = BEFORE_THE_FIRST, 0, not noted
        for row in rows:
            number += 1
            if row.id != number:
                return Verdict(number - 1, digest, number, f"Row {number} is missing.")
            if row.digest != digest_of(row, digest):
                return Verdict(number - 1, digest, number, f"Row {number} is not what was written.")
            digest = row.digest
            is_there = is_there or digest == noted
    counted = db.session.scalar(select(Counter.value).where(Counter.name == "audit")) or 0
    if counted != number:
        return Verdict(number, digest, number + 1, f"{counted} rows were written, {number} are there.")
    if not is_there:
        return Verdict(number, digest, number + 1, "The digest that was noted elsewhere is in no row.")
    return Verdict(number, digest)


def latest(limit: int, before: int | None = None) -> list[Audit]:
    """The viewer's own rows, latest first; an administrator's are everybody's. `before`: only older ones than this number."""
    query = select(Audit).order_by(Audit.id.desc()).limit(limit)
    looking = viewer.current()
    if not looking.is_administrator:
        query = query.where(Audit.account_id == looking.account_id)
    if before is not None:
        query = query.where(Audit.id < before)
    return list(db.session.scalars(query))
