"""What a person asked for in the form that adds a server: read, and checked before a row is made of it."""

from dataclasses import dataclass

import msgspec

from remotejobs.destination import Destination
from remotejobs.errors import BadInput
from remotejobs.records import app_name

MAX_JUMPS = 8
KEEP_CHOICES = (0, 3600, 8 * 3600, 24 * 3600)  # seconds


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for; checked, since it is made by `of_form` alone."""

    user: str
    host: str
    port: int
    app: str
    way: str
    keep_seconds: float

    @classmethod
    def of_form(cls, server: str, app: str, jumps: str, keep: str) -> "Wanted":
        """Raises BadInput. Names are taken as they stand: an alias of some ~/.ssh/config means nothing to a page."""
        at = _with_user(server)
        hops = [_with_user(part, at.user) for part in jumps.split(",")] if jumps.strip() else []
        if len(hops) > MAX_JUMPS:
            raise BadInput(f"More than {MAX_JUMPS} jumps are not made.")
        way = {"jumps": [{"host": hop.host, "port": hop.port, "user": hop.user} for hop in hops]}
        return cls(
            at.user or "",
            at.host,
            at.port,
            app_name(app.strip()),
            msgspec.json.encode(way).decode() if hops else "",
            keep_choice(keep),
        )


def _with_user(text: str, user: str | None = None) -> Destination:
    found = Destination.parse(text)
    if found.user is None and user is None:
        raise BadInput(f"Write it as user@{found}: a page does not know your name there.")
    return Destination(found.host.lower(), found.port, found.user or user, found.port_given)


def keep_choice(text: str) -> float:
    if text not in {str(choice) for choice in KEEP_CHOICES}:
        raise BadInput("That is not one of the times for which a connection can be kept.")
    return float(text)
