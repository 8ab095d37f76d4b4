"""What a list shows and from where on: values read from the address, and written into it again."""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple, Self
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from remoteweb.groups import Group

VIEWS = {
    "": ("All", tuple(Group)),
    "needs-you": ("Needs you", (Group.NEEDS_YOU,)),
    "running": ("Running", (Group.RUNNING,)),
    "waiting": ("Waiting", (Group.WAITING,)),
    "ended": ("Ended", (Group.ENDED,)),
}
_CURSOR = re.compile(r"([0-3])\.([0-9]{1,18})\.([0-9]{1,18})\Z", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}\Z", re.ASCII)
LONGEST_SEARCH = 100
LARGEST = 2**31 - 1  # of what a column of the tables holds


class Cursor(NamedTuple):
    """The place after a row, in the order (group, change descending, id descending)."""

    group: int
    change: int
    id: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        match = _CURSOR.match(text)
        place = cls(*map(int, match.groups())) if match else None
        return place if place and max(place) <= LARGEST else None

    def __str__(self) -> str:
        return f"{self.group}.{self.change}.{self.id}"


@dataclass(frozen=True, slots=True)
class Filter:
    """A view (a key of VIEWS), a server and a search. Nonsense in an address is no filter, not an error page."""

    view: str = ""
    server: int | None = None
    text: str = ""

    @classmethod
    def parse(cls, arguments: MultiDict[str, str]) -> Self:
        view = arguments.get("view", "")
        server = arguments.get("server", "")
        text = " ".join(arguments.get("q", "")[:LONGEST_SEARCH].replace("\0", " ").split())
        return cls(
            view if view in VIEWS else "",
            int(server) if _NUMBER.match(server) else None,
            text,
        )

    @property
    def groups(self) -> tuple[Group, ...]:
        return VIEWS[self.view][1]

    @property
    def is_on(self) -> bool:
        return bool(self.view or self.server is not None or self.text)

    def but(self, **changes: str | int | None) -> Self:
        return replace(self, **changes)  # type: ignore[arg-type]

    def query(self, **more: str) -> str:
        """As the end of an address, "?..." or nothing."""
        parts = {"view": self.view, "server": "" if self.server is None else str(self.server), "q": self.text}
        kept = {name: value for name, value in {**parts, **more}.items() if value}
        return f"?{urlencode(kept)}" if kept else ""
