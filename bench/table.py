"""The table of results: what was measured, against what, and whether the target was met."""

import os
import platform
import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from timing import Times

RESULTS = Path(__file__).resolve().parent / "results"
HEAD = "| | measured | against | ratio or figure | target | |\n|---|---|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    measured: str
    against: str
    figure: str
    target: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        met = {True: "met", False: "**missed**", None: ""}[self.met]
        return f"| {self.what} | {self.measured} | {self.against} | {self.figure} | {self.target} | {met} |"


def milliseconds(times: Times) -> str:
    return f"{ms(times.median)} ({ms(times.part(25))} to {ms(times.part(75))})"


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def ratio(what: str, ours: Times, theirs: Times, against: str, at_most: float | None = None) -> Row:
    """The ratio of the medians; in brackets the quartiles of the rounds' own ratios."""
    value = ours.median / theirs.median
    low, _, high = statistics.quantiles(ours.against(theirs), n=4)
    return Row(
        what,
        milliseconds(ours),
        f"{against}: {milliseconds(theirs)}",
        f"{value:.2f}x ({low:.2f} to {high:.2f})",
        "" if at_most is None else f"{at_most:.1f}x",
        None if at_most is None else round(value, 2) <= at_most,
    )


def limit(what: str, figure: float, unit: str, at_most: float | None = None, measured: str = "") -> Row:
    return Row(
        what,
        measured,
        "",
        f"{figure:,.0f} {unit}",
        "" if at_most is None else f"{at_most:,.0f} {unit}",
        None if at_most is None else figure <= at_most,
    )


def as_text(sections: list[tuple[str, list[Row]]]) -> str:
    cores, load = os.cpu_count(), os.getloadavg()[0]
    parts = [
        f"# Measured on {datetime.now(UTC):%Y-%m-%d}",
        f"{cores} cores, Linux, Python {platform.python_version()}; load {load:.1f} when it ended. "
        "Medians, with the quartiles in brackets, of runs in turn.",
    ]
    parts += [f"## {title}\n\n{HEAD}\n" + "\n".join(map(str, rows)) for title, rows in sections]
    return "\n\n".join(parts) + "\n"


def keep(text: str) -> Path:
    """A file of its own; those of earlier runs stay."""
    RESULTS.mkdir(exist_ok=True)
    day, number = f"{datetime.now(UTC):%Y-%m-%d}", 1
    path = RESULTS / f"{day}.md"
    while path.exists():
        number += 1
        path = RESULTS / f"{day}-{number}.md"
    path.write_text(text)
    return path
