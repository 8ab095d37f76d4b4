"""Cleaning a server, and pruning it: in as many exchanges as it takes, each of which a kill may end at any point."""

from dataclasses import dataclass, field
from typing import TypeVar

from remotejobs.answer import Cleaned, Pruned
from remotejobs.errors import ServerProblem
from remotejobs.exchange import DAY, Cleaning, Pruning
from remotejobs.records import JobRecord, JobStatus
from remotejobs.registry import Registry

_T = TypeVar("_T")
LIMIT = 1000  # records to a batch
EXCHANGES = 1000


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
        return said if self.dry_run or not self.more else f"{said} More is left, which could not be done now."


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What was deleted, or with `dry_run` would be."""

    records: int
    batches: int
    dry_run: bool = False

    @property
    def sentence(self) -> str:
        done = "Would delete" if self.dry_run else "Deleted"
        batches = "1 batch" if self.batches == 1 else f"{self.batches:,} batches"
        return f"{done} {_count(self.records, 'sealed record')} ({batches})."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def clean(
    registry: Registry, *, dry_run: bool = False, settled_days: float = 1.0, trash_days: float = 7.0
) -> Report:
    """Seals what is settled, and empties the trash. Raises ServerProblem where nothing can be written."""
    report = Report(dry_run=dry_run)
    cleaning = Cleaning(registry.app, LIMIT, settled_days * DAY, trash_days * DAY, dry_run)
    done = Cleaned(more=True)
    for _ in range(1 if dry_run else EXCHANGES):
        done = _known(registry, registry.cleaned(cleaning))
        _add(report, done)
        report.more = done.more
        if not (done.more and (done.records or done.folders or done.emptied)):
            break
    report.jobs = list(registry.known(done.keys))
    return report


def _known(registry: Registry, done: _T | None) -> _T:
    if done is None:
        raise ServerProblem(_NOT_CLEANED.format(app=registry.app, server=registry.shell))
    return done


def _add(report: Report, done: Cleaned) -> None:
    report.records += done.records
    report.folders += done.folders
    report.emptied += done.emptied


def prune(registry: Registry, older_than_days: float, *, dry_run: bool = False) -> PruneReport:
    """Deletes the sealed records that are all older than that. Raises ServerProblem where nothing can be written."""
    total = Pruned()
    for _ in range(EXCHANGES):
        pruning = Pruning(registry.app, older_than_days * DAY, dry_run)
        done = _known(registry, registry.pruned(pruning))
        total = Pruned(total.records + done.records, total.batches + done.batches)
        if dry_run or not (done.more and done.batches):
            break
    return PruneReport(total.records, total.batches, dry_run)


_NOT_CLEANED = "Nothing was cleaned: nothing can be written into ~/.{app} on {server}, or the disk or quota there is full."
