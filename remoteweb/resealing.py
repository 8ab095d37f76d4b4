"""Another key of keys: the private halves that were made here are sealed anew under it, and the former one may go.

Each is a transaction of its own, and the former key goes last: killed anywhere, all open, and the next run goes on from there.
"""

from dataclasses import dataclass

from remotejobs.errors import LoginError
from remoteweb import key_making, made_keys, sealing
from remoteweb.database import db, forget_what_was_written
from remoteweb.paths import state_folder
from remoteweb.private_files import alone_in
from remoteweb.ways import MadeKey


@dataclass(frozen=True, slots=True)
class Resealed:
    count: int
    problems: list[str]  # of what stays as it was, under a former key or under one that nobody gave


def reseal() -> Resealed:
    """On one's own machine under a new key; where a key or a file was named, under the first one there. Raises WrongSetting."""
    if not sealing.is_ours():
        return _all()
    with alone_in(state_folder()):
        sealing.put_a_new_key_in_front()
        told = _all()
        _let_the_former_go()
    return told


def _all() -> Resealed:
    count, problems = 0, []
    for key_id in made_keys.with_a_private_half():
        row = db.session.get(MadeKey, key_id)
        try:
            count += row is not None and key_making.seal_anew(row)
        except LoginError as error:
            problems.append(str(error))
        db.session.rollback()  # nothing of the database is held between two
    forget_what_was_written()
    return Resealed(count, problems)


def _let_the_former_go() -> None:
    """Not while anything lies under it, nor while one is made that may."""
    if not made_keys.seals_under_lock() & _former():
        sealing.take_the_former_out()
    db.session.rollback()


def _former() -> set[str]:
    return {one.name for one in sealing.keyring(may_make=False).former}
