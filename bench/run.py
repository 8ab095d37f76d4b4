"""Measures what docs/performance.md promises, and keeps the table in bench/results/: `make bench`.

`make bench ARGS="--jobs 5000 --rounds 5"` is a quick look, `ARGS="--only steady"` a part: they print, and keep nothing.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import documented_loop
import first_sync
import ground as grounds  # first: it finds the checkout and the test parts
import list_page
import made_records
import steady_sync
from table import Row, as_text, keep

JOBS, ROUNDS = 100_000, 25
SMALLER = (1_000, 10_000)
PARTS = ("first", "steady", "loop")
Sections = list[tuple[str, list[Row]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=PARTS, help="first: the first sync, the feed and the list page")
    asked = parser.parse_args()
    with grounds.ground(asked.jobs, asked.rounds) as ground:
        text = as_text(_measured(ground, [asked.only] if asked.only else PARTS))
    sys.stdout.write("\n" + text)
    if (asked.jobs, asked.rounds, asked.only) == (JOBS, ROUNDS, None):
        sys.stdout.write(f"\nKept as {keep(text)}\n")


def _measured(ground: grounds.Ground, parts: Sequence[str]) -> Sections:
    sections: Sections = []

    def add(title: str, measure: Callable[[], list[Row]]) -> None:
        sections.append((title, measure()))
        sys.stderr.write(f"\n{title}\n" + "".join(f"{row}\n" for row in sections[-1][1]))

    of = made_records.pattern(ground)
    if "first" in parts:
        app, rows = first_sync.measure(ground, of)
        add("First sync and feed", lambda: rows)
        add("The list page", lambda: list_page.measure(ground, app, ground.jobs))
        add("The list page as jobs grow", lambda: _growing(ground, of))
    if "steady" in parts:
        add("Steady sync", lambda: _steady(ground, of))
    if "loop" in parts:
        add("The documented loop", lambda: documented_loop.measure(ground, of))
    return sections


def _growing(ground: grounds.Ground, of: made_records.Pattern) -> list[Row]:
    rows = []
    for jobs in SMALLER:
        name = f"bench-{jobs}"
        made_records.registry(ground, name, of, sealed=jobs)
        app = ground.web(name)
        steady_sync.sync(ground, app, name)
        rows += list_page.measure(ground, app, jobs, only="plain")
        rows += list_page.measure(ground, app, jobs, only="a search, a common word")
    return rows


def _steady(ground: grounds.Ground, of: made_records.Pattern) -> list[Row]:
    """On a registry of its own: in the large one a job runs."""
    name = "bench-steady"
    made_records.registry(ground, name, of, sealed=ground.jobs)
    app = ground.web(name)
    steady_sync.sync(ground, app, name)
    rows = steady_sync.nothing_live(ground, app, name)
    rows += steady_sync.processes_live(ground, app, name)
    return rows + steady_sync.slurm_live(ground, app, "bench-slurm")


if __name__ == "__main__":
    main()
