"""The four groups of the list, in its order. A job's group is stored, so that pages and feed can follow it."""

from enum import IntEnum

# How long a failure asks for a person. Older ones are history: they stay in the list, under what has ended.
ASKS_FOR_DAYS = 7
ASKS_FOR_SECONDS = ASKS_FOR_DAYS * 86400.0


class Group(IntEnum):
    NEEDS_YOU = 0
    RUNNING = 1
    WAITING = 2
    ENDED = 3


_GROUPS = {
    "submitted": Group.WAITING,
    "queued": Group.WAITING,
    "held": Group.WAITING,
    "running": Group.RUNNING,
    "suspended": Group.RUNNING,
    "finishing": Group.RUNNING,
    "done": Group.ENDED,
    "cancelled": Group.ENDED,
}


def group_of(
    state: str, *, settling: bool = False, ended: float | None = None, replaced: bool = False, now: float
) -> Group:
    """`replaced`: a later run of the same work exists; `ended` and `now` are by the same clock.

    A settling job has left the queue and is being looked up, which takes minutes: it asks for nobody yet.
    A failure stops asking when it was run again, or after a week. What no table has needs a person.
    """
    if settling:
        return Group.RUNNING
    group = _GROUPS.get(state, Group.NEEDS_YOU)
    if group is not Group.NEEDS_YOU or state not in ("failed", "lost"):
        return group
    is_history = replaced or (ended is not None and now - ended > ASKS_FOR_SECONDS)
    return Group.ENDED if is_history else Group.NEEDS_YOU
