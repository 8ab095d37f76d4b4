"""Cleaning a server, and pruning it: in as many exchanges as it takes, each of which a kill may end at any point."""

from dataclasses import dataclass, field

from remotejobs.answer import Cleaned, Pruned
from remotejobs.errors import BadInput, ServerProblem
from remotejobs.exchange import DAY, Cleaning, Pruning
from remotejobs.records import JobRecord, JobStatus
from remotejobs.registry import Registry

LIMIT = 1000  # records to a batch
EXCHANGES = 1000
LONGEST = 100 * 365  # days


@dataclass(slots=True)
class Report:
    """What was done, or with `dry_run` would be: counts, and the jobs that a dry run names."""

    records: int = 0
    folders: int = 0
    emptied: int = 0
    more: bool = False
    dry_run: bool = False
    jobs: list[tuple[JobRecord, JobStatus]] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        some = "at least " if self.dry_run and self.more else ""
        would = "Would seal " if self.dry_run else "Sealed "
        said = (
            f"{would}{some}{_count(self.records, 'record')}, move {_count(self.folders, 'run folder')} to the trash and "
            f"remove {self.emptied:,} from it."
            if self.dry_run
            else f"{would}{_count(self.records, 'record')}, moved {_count(self.folders, 'run folder')} to the trash and "
            f"removed {self.emptied:,} from it."
        )
        return said if self.dry_run or not self.more else said + _MORE


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What was deleted, or with `dry_run` would be; `more`: not all batches could be looked at."""

    records: int
    batches: int
    dry_run: bool = False
    more: bool = False

    @property
    def sentence(self) -> str:
        some = "at least " if self.dry_run and self.more else ""
        done = f"Would delete {some}" if self.dry_run else "Deleted "
        batches = "1 batch" if self.batches == 1 else f"{self.batches:,} batches"
        said = f"{done}{_count(self.records, 'sealed record')} ({batches})."
        return said if self.dry_run or not self.more else said + _MORE


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def clean(
    registry: Registry, *, dry_run: bool = False, settled_days: float = 1.0, trash_days: float = 7.0
) -> Report:
    """Seals what is settled, and empties the trash. Raises ServerProblem where nothing can be written, and BadInput."""
    settled, trash = _seconds(settled_days), _seconds(trash_days)
    report = Report(dry_run=dry_run)
    cleaning = Cleaning(registry.app, LIMIT, settled, trash, dry_run)
    for _ in range(1 if dry_run else EXCHANGES):
        done = registry.cleaned(cleaning) or _stopped(registry, report.more)
        _add(report, done)
        if dry_run:
            report.jobs = list(registry.known(done.keys))
        if not (done.more and (done.records or done.folders or done.emptied)):
            break
    return report


def _seconds(days: float) -> float:
    if not 0 <= days <= LONGEST:
        raise BadInput(f"{days:g} is no number of days from 0 to {LONGEST:,}.")
    return days * DAY


def _stopped(registry: Registry, is_begun: bool) -> Cleaned:
    """Nothing more can be written: what was done before is reported, unless there is nothing of it."""
    if not is_begun:
        raise ServerProblem(_NOT_CLEANED.format(app=registry.app, server=registry.shell))
    return Cleaned(more=True)


def _add(report: Report, done: Cleaned) -> None:
    report.records += done.records
    report.folders += done.folders
    report.emptied += done.emptied
    report.more = done.more


def prune(registry: Registry, older_than_days: float, *, dry_run: bool = False) -> PruneReport:
    """Deletes the sealed records that are all older. Raises ServerProblem where nothing can be written, and BadInput."""
    pruning = Pruning(registry.app, _seconds(older_than_days), dry_run)
    total = Pruned()
    for _ in range(EXCHANGES):
        done = registry.pruned(pruning)
        if done is None:
            _stopped(registry, total.more)
            break
        total = Pruned(total.records + done.records, total.batches + done.batches, done.more)
        if dry_run or not (done.more and done.batches):
            break
    return PruneReport(total.records, total.batches, dry_run, total.more)


_MORE = " More is left, which could not be done now."
_NOT_CLEANED = "Nothing was cleaned: nothing can be written into ~/.{app} on {server}, or the disk or quota there is full."
