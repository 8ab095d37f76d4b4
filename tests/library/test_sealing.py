"""Lives of a registry: three databases and two that seal, late facts and requeues, anybody killed at any command that the
server starts, databases copied and set back. No database misses a fact, and no key is given twice.
"""

import os
import random
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from library.machines import APP
from library.registries import Folder, fact_text, settings_text

from remotejobs import RemoteJobsError, RemoteJobSubmitter, answer, cleaning
from remotejobs.exchange import Request, SourceRequest, exchange
from remotejobs.records import parse_file_name
from remotejobs.shell import LocalShell

COMMANDS = "awk cat cksum cmp cut date find grep gzip head ln ls mkdir mv rm sed sort stat tail timeout touch wc xargs"
COMMANDS_OF_A_SEAL = 150
LIVES = int(os.environ.get("SEALING_SEEDS", "500"))  # of the long form: up to 40 s each
# It numbers itself (`set -C` makes a file once), and at one number, or where its line looks like that, kills the whole session:
# the program and all of its own. An `rm` removes two of its files first.
STAND_IN = """\
#!/bin/sh
folder={folder} number=1 name=${{0##*/}}
set -C
until {{ command echo "$*" >"$folder/done/$number"; }} 2>/dev/null; do number=$((number + 1)); done
read -r at <"$folder/at"
case $at in *[!0-9]*) case "$name $*" in $at) at=$number ;; esac ;; esac
if [ "$number" = "$at" ]; then
  echo "$name $*" >|"$folder/struck"
  [ "$name" != rm ] || {real}/rm -f "$2" "$3"
  read -r stat </proc/$$/stat
  set -- ${{stat##*) }}
  kill -s KILL -- "-$4" "-$3"
fi
exec {real}/"$name" "$@"
"""
# Where a seal may be killed, by the command that it is about to start.
STEPS = {
    "before it chooses": "find *.settled*",
    "before it writes": "gzip -c",
    "before it reads back": "gzip -dc actions/*",
    "before the batch has its name": "ln *.gz sealed/*",
    "after that": "cmp *.gz sealed/*",
    "before the list has its name": "ln *.names sealed/*",
    "after that as well": "cmp *.names sealed/*",
    "while it removes": "rm -f facts/*",
    "before the run folders go": "mv runs/*",
}
FACTS = (
    "id",
    "start.1",
    "exit.1",
    "sched.1",
    "start.2",
    "exit.2",
    "sched.2",
    "cancel.2",
    "start.3",
    "sched.3",
)
OLD = time.time() - 9 * 86400
FIRST = {
    "scheduler": "process",
    "id": 4711,
    "submitted": 1700000000,
    "sid": 4711,
    "start_ticks": 1,
    "boot": "before",
}
WORDS: dict[str, dict[str, Any]] = {"exit": {"code": 1}, "sched": {"source": "none", "line": ""}}

Contents = dict[str, object]  # a record's files, by name, as they are read


class Killer:
    """A PATH whose commands are counted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        for name in COMMANDS.split():
            real = shutil.which(name, path="/usr/bin:/bin")
            assert real
            script = folder / "bin" / name
            script.write_text(STAND_IN.format(folder=folder, real=Path(real).parent))
            script.chmod(0o755)

    def arm(self, at: int | str) -> None:
        shutil.rmtree(self.folder / "done", ignore_errors=True)
        (self.folder / "struck").unlink(missing_ok=True)
        (self.folder / "done").mkdir()
        (self.folder / "at").write_text(f"{at}\n")
        os.environ["PATH"] = f"{self.folder}/bin:/usr/bin:/bin"

    def disarm(self) -> None:
        os.environ["PATH"] = "/usr/bin:/bin"


@dataclass
class Database:
    """As one that keeps records: each chunk with its cursor, in one step."""

    facts: Contents = field(default_factory=dict)
    cursor: str | None = None

    def pull(self, chance: random.Random, risk: float = 0.2) -> None:
        told = exchange(LocalShell(), Request([SourceRequest(APP, self.cursor)]))
        source = told.sources[APP]
        assert source.error == ""
        for chunk in source.chunks():
            if chance.random() < risk:
                break
            for record in chunk.records:
                if record.settings:
                    self.facts[f"{record.key}.json"] = record.settings["name"]
                self.facts |= {f"{record.key}.{name}": words for name, words in record.facts.items()}
            self.cursor = chunk.cursor
        told.close()

    def copy(self) -> "Database":
        return Database(dict(self.facts), self.cursor)


@dataclass
class Table:
    """As one that keeps no facts, only what `changes` tells: each part with its cursor, in one step."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    cursor: str | None = None

    def pull(self, chance: random.Random, risk: float = 0.2) -> None:
        with RemoteJobSubmitter(APP).changes(self.cursor) as changes:
            for part in changes.parts():
                if chance.random() < risk:
                    return
                self.rows |= {state["jobid"]: state for state in part.records}
                self.cursor = part.cursor

    def copy(self) -> "Table":
        return Table(dict(self.rows), self.cursor)


@dataclass
class World:
    folder: Folder
    chance: random.Random
    killer: Killer
    host: str = os.uname().nodename.partition(".")[0]
    made: dict[str, str] = field(default_factory=dict)  # every file that ever was, by name
    given: list[str] = field(default_factory=list)  # keys of real submissions
    works: int = 0
    kills: int = 0
    seals: int = 0

    def all_keys(self) -> list[str]:
        return sorted({name.partition(".")[0] for name in self.made})

    def submit(self) -> str:
        self.works += 1
        key = f"{self.chance.choice('07f')}{self.works:031x}_1"
        self.folder.settings(key, settings_text(name=f"job {self.works}"))
        self.folder.fact(key, "id", fact_text(cluster=self.host, host=self.host, **FIRST))
        (self.folder.path / "runs" / key).mkdir()
        return key

    def happen(self, chance: random.Random) -> None:
        """The next fact of some job, whether it was sealed or not; at times one before it is left out, and comes late."""
        key = chance.choice(self.all_keys())
        missing = [name for name in FACTS if f"{key}.{name}" not in self.made]
        if missing:
            name = missing[0] if chance.random() < 0.7 else chance.choice(missing[:3])
            words = WORDS.get(name.partition(".")[0], {})
            self.made[f"{key}.{name}"] = text = fact_text(time=1700000000 + len(self.made), **words)
            self.link(f"{key}.{name}", text)

    def link(self, name: str, text: str) -> None:
        """Whole from the first moment, and old."""
        new = self.folder.path / "actions" / f"new.{name}"
        new.write_text(text)
        os.utime(new, (OLD, OLD))
        with suppress(FileExistsError):  # the server has noted it too
            os.link(new, self.folder.path / "facts" / name)
        new.unlink()

    def go_on(self, chance: random.Random) -> None:
        """While somebody seals."""
        for _ in range(6):
            self.happen(chance)
            time.sleep(0.03)

    def note(self) -> None:
        """What is there now, also what the server noted itself; all of it as old as it takes to be sealed."""
        for path in self.folder.path.glob("runs/*"):
            with suppress(FileNotFoundError):
                os.utime(path, (OLD, OLD))
        for path in [*self.folder.path.glob("settings/*.json"), *self.folder.path.glob("facts/*.*")]:
            try:
                text = path.read_text()
                os.utime(path, (OLD, OLD))
            except FileNotFoundError:
                continue
            if parse_file_name(path.name) and not path.name.endswith(".cleaned"):
                self.made.setdefault(path.name, text)

    def real_submission(self) -> None:
        jobs = RemoteJobSubmitter(APP)
        settings = jobs.create_settings(None, None, "true", name="real", scheduler="process", shell="/bin/sh")
        self.given.append(jobs.submit_job(settings)["jobid"])

    def seal(self, at_once: int) -> None:
        """By one or two, of whom one may be killed; at times while the same work is submitted again."""
        own = random.Random(self.chance.random())
        calls: list[Callable[[], None]] = [*[self.clean] * at_once, lambda: self.go_on(own)]
        self.seals += at_once
        if self.chance.random() < 0.6:
            self.killer.arm(self.chance.randrange(1, COMMANDS_OF_A_SEAL * at_once))
            self.kills += 1
        elif self.chance.random() < 0.4:
            calls.append(self.real_submission)
        with ThreadPoolExecutor(len(calls)) as pool:
            for call in [pool.submit(call) for call in calls]:
                call.result()
        self.killer.disarm()

    @staticmethod
    def clean() -> None:
        try:
            RemoteJobSubmitter(APP).clean(trash_days=0)
        except RemoteJobsError as error:
            assert str(error).endswith((".", "?"))


def live_through(seed: int, home: Path, rounds: int) -> World:
    chance = random.Random(seed)
    world = World(Folder.make(home), chance, Killer(home / "killer"))
    databases = [Database() for _ in range(3)]
    older = Database()
    tables = [Table(), Table()]
    for _ in range(8):
        world.submit()
    world.note()
    for _ in range(rounds):
        world.submit()
        world.note()
        for _ in range(chance.randrange(4, 16)):
            world.happen(chance)
            world.note()
        world.seal(chance.choice((1, 1, 2)))
        world.note()
        at = chance.randrange(3)
        if chance.random() < 0.2:
            older = databases[at].copy()
        elif chance.random() < 0.3:
            databases[at] = older.copy()
        databases[at].pull(chance)
        world.note()
        if chance.random() < 0.2:
            tables.reverse()
            tables[1] = tables[0].copy()
        tables[0].pull(chance)
        world.note()
    return judged(world, databases, tables)


def judged(world: World, databases: list[Database], tables: list[Table]) -> World:
    world.killer.disarm()
    world.real_submission()
    assert len(set(world.given)) == len(world.given), "a key was given twice"
    complete(world, [*databases, Database()])
    right = RemoteJobSubmitter(APP).check_states(world.all_keys())
    for table in [*tables, Table()]:
        table.pull(world.chance, risk=0.0)
        half_sealed = {name.partition(".")[0] for name in world.folder.names()}
        wrong = [
            (table.rows.get(key), state)
            for key, state in right.items()
            if not is_told(table.rows.get(key), state, key in half_sealed)
        ]
        assert not wrong
    sealed = {line for path in world.folder.path.glob("sealed/*.names") for line in path.read_text().split()}
    batches = {name.partition(".")[0] for batch in world.folder.batches() for name in batch}
    assert batches <= sealed | {name.partition(".")[0] for name in world.folder.names()}
    world.clean()
    alive = {name.partition(".")[0] for name in world.folder.names()}
    assert not {path.name for path in (world.folder.path / "runs").iterdir()} & sealed - alive
    return world


def is_told(row: dict[str, Any] | None, state: dict[str, Any], is_half_sealed: bool) -> bool:
    if row is None:
        return False
    # Of one that settles, a table may have been told more than facts say: by a queue, before it was sealed.
    if row == state or state["settling"]:
        return True
    # A seal that died before its list was made has the job in its batch already, as cleaned; its run folder is still there.
    if is_half_sealed:
        row, state = row | {"cleaned": False}, state | {"cleaned": False}
    # Two that look at once may both find it gone: one of them notes when, and each was told by its own clock.
    if row["updated"] and state["updated"] and abs(row["updated"] - state["updated"]) <= timedelta(seconds=2):
        row = row | {"updated": state["updated"]}
    return row == state


def complete(world: World, databases: list[Database]) -> None:
    for database in databases:
        database.pull(world.chance, risk=0.0)
        world.note()
        database.pull(world.chance, risk=0.0)  # also what was noted while it looked
        lacking = set(world.made) - set(database.facts)
        assert not lacking, f"{len(lacking)} facts are missing"


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "CHUNK_RECORDS", 2)
    monkeypatch.setattr(cleaning, "LIMIT", 6)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


@pytest.mark.parametrize("step", STEPS)
def test_a_seal_that_was_killed_loses_nothing_and_the_next_one_goes_on(step: str, home: Path) -> None:
    world = World(Folder.make(home), random.Random(step), Killer(home / "killer"))
    for _ in range(4):
        world.submit()
        world.note()
    for key in world.all_keys():
        for name in ("start.1", "exit.1", "sched.1"):
            world.link(f"{key}.{name}", fact_text(time=1700000000, **WORDS.get(name.partition(".")[0], {})))
    world.note()
    before = Database()
    before.pull(world.chance, risk=0.0)
    late = world.all_keys()[0]
    world.clean()
    world.link(f"{late}.start.2", fact_text(time=1700000001))
    world.link(f"{late}.sched.2", fact_text(time=1700000001))
    fresh = world.submit()
    world.note()
    world.link(f"{fresh}.sched.1", fact_text(time=1700000001))
    world.note()
    world.killer.arm(STEPS[step])
    world.clean()
    world.killer.disarm()
    assert (world.killer.folder / "struck").exists()
    for _once_more in range(2):
        complete(world, [before.copy(), Database()])
        assert RemoteJobSubmitter(APP).settings.highest_n(late.partition("_")[0]) == 1
        world.clean()
    assert not world.folder.names()
    sealed = [name for batch in world.folder.batches() for name in batch]
    assert len(sealed) == len(set(sealed)), "what a batch holds already is not sealed again"
    assert not list((world.folder.path / "runs").iterdir())


@pytest.mark.parametrize("seed", range(1))
def test_no_database_misses_a_fact_and_no_key_is_given_twice(seed: int, home: Path) -> None:
    world = live_through(seed, home, rounds=8)
    assert world.folder.batches() and world.kills


@pytest.mark.soak
@pytest.mark.timeout(120 * LIVES)
def test_the_same_in_many_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = {"lives": 0, "facts": 0, "keys": 0, "kills": 0, "seals": 0, "submissions": 0}
    for seed in range(1000, 1000 + LIVES):
        home = tmp_path / str(seed)
        home.mkdir()
        monkeypatch.setenv("HOME", str(home))
        world = live_through(seed, home, rounds=12)
        count["lives"] += 1
        count["facts"] += len(world.made)
        count["keys"] += len(world.all_keys())
        count["kills"] += world.kills
        count["seals"] += world.seals
        count["submissions"] += len(world.given)
        shutil.rmtree(home)
        print(count)
