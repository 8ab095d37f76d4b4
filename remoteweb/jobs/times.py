"""Times and durations in a page: spelled out in UTC, for the script to say them in the phone's own zone."""

import time
from datetime import UTC, datetime

from markupsafe import Markup

from remoteweb.models import Job


def our_time(job: Job, moment: float | None) -> float | None:
    """A time by the server's clock, by ours: a clock that is wrong would make ages that are."""
    return None if moment is None else moment - (job.server.skew or 0.0)


def clock(moment: float | None, kind: str = "at", of: str = "") -> Markup:
    """A <time>. Kinds: "at" (a point in time), "ago" (its age), "since" (how long by now).

    `of` names the element whose age this is: a server's line, which moves when a sync confirmed its rows.
    """
    if moment is None:
        return Markup("never")
    at = datetime.fromtimestamp(moment, UTC)
    said = duration(time.time() - moment) if kind == "since" else f"{at.day} {at:%b %H:%M} UTC"
    source = f' data-of="{of}"' if of else ""
    # Nothing in it comes from a server: two words of ours, and a number.
    return Markup(f'<time class="{kind}" datetime="{at:%Y-%m-%dT%H:%M:%SZ}"{source}>{said}</time>')  # noqa: S704  see above


def duration(seconds: float | None) -> str:
    """ "45 s", "38 min", "1 h 52", "2 d 4 h": two units say enough. No line breaks within."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if whole < 60:
        return f"{whole}\u00a0s"
    if whole < 3600:
        return f"{minutes}\u00a0min"
    if not days:
        return f"{hours}\u00a0h\u00a0{minutes:02}" if minutes else f"{hours}\u00a0h"
    return f"{days}\u00a0d\u00a0{hours}\u00a0h" if hours else f"{days}\u00a0d"


def used(job: Job) -> int:
    """Percent of its time limit, by now."""
    started = our_time(job, job.started)
    if started is None or not job.limit:
        return 0
    return min(100, max(0, round(100 * (time.time() - started) / job.limit)))
