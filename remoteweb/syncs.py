"""One sync: what its steps hand on, and what it comes to."""

from dataclasses import dataclass, field

from remotejobs.exchange import Cleaning
from remoteweb.leases import Lease
from remoteweb.runs import Progress, SourceResult
from remoteweb.sending import Sent
from remoteweb.tails import Wanted


@dataclass(slots=True)
class SyncResult:
    label: str
    seconds: float
    sources: list[SourceResult] = field(default_factory=list)

    @property
    def is_followed(self) -> bool:
        """Something was done, or is not settled yet: another sync soon shows what became of it."""
        return any(result.is_followed for result in self.sources)

    @property
    def sentence(self) -> str:
        if len(self.sources) == 1:
            return f"{self.sources[0].sentence}."
        return " ".join(f"{result.app}: {result.sentence}." for result in self.sources) or "Nothing to sync."


@dataclass(slots=True)
class Sync:
    """What the steps of one sync hand on."""

    lease: Lease
    progress: Progress
    wanted: list[str]  # apps
    is_named: bool  # by a person, so one that is not known yet becomes known
    began_at: float
    results: dict[str, SourceResult] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)  # ids of the sources that are known by now
    cursors: dict[str, str | None] = field(default_factory=dict)  # theirs, when it began
    has_due: bool = False  # an action that is to be sent
    sent: list[Sent] = field(default_factory=list)
    cleanings: list[Cleaning] = field(default_factory=list)
    tails: list[Wanted] = field(default_factory=list)  # of logs that somebody waits for
    wire_was_touched: bool = False
