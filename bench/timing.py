"""Runs in turn, so that what else the machine does meets all of them; medians, and how far they spread."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of each run, in the order of the rounds."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def part(self, percent: int) -> float:
        """The time that so many percent of the runs kept within."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

    def against(self, other: "Times") -> list[float]:
        """The ratio of each round."""
        return [ours / theirs for ours, theirs in zip(self.seconds, other.seconds, strict=True)]


def interleaved(rounds: int, *runs: Callable[[], object], warm_up: int = 2) -> list[Times]:
    """Each run once per round; every other round in the opposite order."""
    taken: list[list[float]] = [[] for _ in runs]
    for number in range(warm_up + rounds):
        order = list(enumerate(runs))
        for place, run in order if number % 2 else reversed(order):
            began = time.perf_counter()
            run()
            if number >= warm_up:
                taken[place].append(time.perf_counter() - began)
    return [Times(seconds) for seconds in taken]
