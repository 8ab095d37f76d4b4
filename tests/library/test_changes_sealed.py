"""Three databases, two sealers, late facts, requeues, all of them killed anywhere: no database misses a fact."""

import gzip
import os
import random
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from library.registries import APP, Folder, fact_text, settings_text

from remotejobs import RemoteJobSubmitter, answer
from remotejobs.described import described
from remotejobs.records import JobKey, JobRecord, read_fact, read_settings
from remotejobs.states import derive

LIVES = int(os.environ.get("SEALING_SEEDS", "500"))  # of the long form: up to 40 s each
FACTS = ("id", "start.1", "exit.1", "sched.1", "cleaned", "start.2", "exit.2", "sched.2")
WORDS: dict[str, dict[str, object]] = {
    "id": {
        "scheduler": "slurm",
        "cluster": "elsewhere",
        "host": "elsewhere",
        "id": 4711,
        "submitted": 1_700_000_000,
    },
    "exit": {"code": 1},
    "sched": {"source": "none", "line": ""},
}


class Killed(Exception):
    pass


@dataclass
class Dice:
    random: random.Random
    risk: float

    def step(self) -> None:
        if self.random.random() < self.risk:
            raise Killed


@dataclass
class Sealer:
    """Seals as the server does: the batch, then its list of names, then exactly these names go; killed anywhere."""

    folder: Path
    name: str
    dice: Dice
    count: int = 0

    def seal(self, keys: list[str]) -> None:
        files = {path.name: path.read_bytes() for path in self._files(keys)}
        self.dice.step()
        self.count += 1
        batch = self.folder / "sealed" / f"{self.name}-{self.count}.gz"
        lines = [
            f"file {name}\n" + "".join(f"|{line}\n" for line in files[name].decode().splitlines())
            for name in sorted(files)
        ]
        batch.write_bytes(gzip.compress("".join(lines).encode()))
        self.dice.step()
        named = sorted({name.partition(".")[0] for name in files})
        batch.with_suffix(".names").write_text("".join(f"{key}\n" for key in named))
        names = list(files)
        self.dice.random.shuffle(names)
        for name in names:
            self.dice.step()
            for folder in ("settings", "facts"):
                (self.folder / folder / name).unlink(missing_ok=True)

    def _files(self, keys: list[str]) -> list[Path]:
        found = [path for path in self.folder.glob("*/*") if path.parent.name in ("settings", "facts")]
        return [path for path in found if path.name.partition(".")[0] in keys]


@dataclass
class Database:
    jobs: RemoteJobSubmitter
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    cursor: str | None = None
    old: tuple[dict[str, dict[str, Any]], str | None] = field(default_factory=lambda: ({}, None))

    def pull(self, dice: Dice) -> int:
        told = 0
        with self.jobs.changes(self.cursor) as changes:
            for part in changes.parts():
                dice.step()
                self.rows |= {record["jobid"]: record for record in part.records}
                self.cursor = part.cursor
                told += len(part.records)
            assert changes.cursor == self.cursor
        return told

    def back_up(self) -> None:
        self.old = (dict(self.rows), self.cursor)

    def restore(self) -> None:
        self.rows, self.cursor = dict(self.old[0]), self.old[1]


@dataclass
class World:
    """All that was ever written, and the folder that it was written into."""

    folder: Folder
    random: random.Random
    facts: dict[str, dict[str, str]] = field(default_factory=dict)

    def live_keys(self) -> list[str]:
        return [path.stem for path in (self.folder.path / "settings").iterdir()]

    def submit(self) -> None:
        key = f"{self.random.choice('07f')}{len(self.facts):031x}_1"
        text = settings_text(name=f"job {len(self.facts)}")
        self.facts[key] = {"json": text}
        self.folder.settings(key, text)

    def happen(self) -> None:
        """The next fact of some job, whether it was sealed or not."""
        key = self.random.choice(sorted(self.facts))
        missing = [name for name in FACTS if name not in self.facts[key]]
        if missing:
            name = missing[0] if self.random.random() < 0.8 else missing[-1]
            text = fact_text(
                **WORDS.get(name.partition(".")[0], {}), time=1_700_000_000 + self.random.randrange(1000)
            )
            self.facts[key][name] = text
            self.folder.fact(key, name, text)

    def truth(self) -> dict[str, dict[str, Any]]:
        states = {}
        for key, texts in self.facts.items():
            facts = {name: read_fact(text) or {} for name, text in texts.items() if name != "json"}
            record = JobRecord(JobKey.parse(key), read_settings(texts["json"]) or {}, facts)
            states[key] = described(record, derive(record, (), 1_800_000_000.0))
        return states


def live_through(seed: int, home: Path, rounds: int) -> None:
    chance = random.Random(seed)
    world = World(Folder.make(home), chance)
    sealers = [Sealer(world.folder.path, name, Dice(chance, 0.05)) for name in ("a", "b")]
    databases = [Database(RemoteJobSubmitter(APP)) for _ in range(3)]
    dice = Dice(chance, 0.2)
    for _ in range(12):
        world.submit()
    for _ in range(rounds):
        world.submit()
        for _ in range(chance.randrange(1, 12)):
            world.happen()
        with suppress(Killed):
            live = world.live_keys()
            some = chance.sample(live, min(len(live), chance.randrange(0, 6)))
            chance.choice(sealers).seal([*some, *chance.sample(sorted(world.facts), 2)])
        database = chance.choice(databases)
        if chance.random() < 0.2:
            chance.choice([database.back_up, database.restore])()
        with suppress(Killed):
            database.pull(dice)
    certain = Dice(chance, 0.0)
    for database in [*databases, Database(RemoteJobSubmitter(APP))]:
        database.pull(certain)
        assert database.rows == world.truth()
        assert database.pull(certain) == 0, "nothing is told twice to whoever was not killed"


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_no_database_misses_a_fact(seed: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "CHUNK_RECORDS", 2)
    live_through(seed, home, rounds=25)


@pytest.mark.soak
@pytest.mark.timeout(120 * LIVES)
def test_no_database_misses_a_fact_in_many_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "CHUNK_RECORDS", 2)
    for seed in range(LIVES):
        home = tmp_path / str(seed)
        home.mkdir()
        monkeypatch.setenv("HOME", str(home))
        live_through(1000 + seed, home, rounds=60)
    print(f"{LIVES} lives of 60 rounds")
