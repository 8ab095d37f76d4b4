"""The documented loop over 1,000 jobs, against a command for each of them over one connection."""

from ground import Ground
from made_records import Pattern, registry
from table import Row, ratio
from timing import interleaved

MOST_ROUNDS = 5


def measure(ground: Ground, of: Pattern, jobs: int = 1000) -> list[Row]:
    app = "bench-loop"
    registry(ground, app, of, live=jobs)
    loop, execs = interleaved(
        min(MOST_ROUNDS, ground.rounds),
        lambda: _loop(ground, app, jobs),
        lambda: _execs(ground, jobs),
        warm_up=1,
    )
    what = f"list_keys, then check_state of each of {jobs:,} jobs"
    return [ratio(what, loop, execs, f"{jobs:,} commands on one connection", 1.0)]


def _loop(ground: Ground, app: str, expected: int) -> None:
    with ground.submitter(app) as jobs:
        keys = jobs.settings.list_keys()
        assert len(keys) == expected
        for key in keys:
            hash_, n = key.rsplit("_", 1)
            jobs.check_state(hash_, int(n), False)
        assert jobs.settings.shell.execs <= 2


def _execs(ground: Ground, count: int) -> None:
    with ground.shell() as shell:
        for _ in range(count):
            shell.run("true").stdout.close()
