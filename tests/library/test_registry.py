"""A registry may hold anything: what is no record is counted, what is one is read, and nothing new is missed."""

import os
import socket
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from library.machines import Machine
from library.registries import APP, Folder, fact_text, key_of, settings_text

from remotejobs import NoSuchJob
from remotejobs.answer import SourceAnswer
from remotejobs.exchange import Request, SourceRequest, exchange
from remotejobs.records import JobKey, JobRecord
from remotejobs.shell import LocalShell, Shell

GOOD = 20
BAD = "f" * 32


@dataclass
class Read:
    """One exchange, taken in as a database would."""

    source: SourceAnswer
    size: int
    records: dict[JobKey, JobRecord] = field(default_factory=dict)
    chunks: list[str] = field(default_factory=list)
    cursor: str = ""
    skew: float | None = None

    @property
    def keys(self) -> set[str]:
        return {str(key) for key in self.records}


def read(shell: Shell, cursor: str | None = None, app: str = APP, sealed: bool = True) -> Read:
    answer = exchange(shell, Request([SourceRequest(app, cursor, sealed)]))
    source = answer.sources[app]
    result = Read(source, answer.size, cursor=cursor or "", skew=answer.skew)
    for chunk in source.chunks():
        result.chunks.append(chunk.name)
        result.cursor = chunk.cursor
        for record in chunk.records:
            known = result.records.get(record.key)
            result.records[record.key] = record if known is None else known.union(record)
    answer.close()
    return result


@pytest.fixture
def folder(server: Machine) -> Folder:
    return Folder.make(server.home)


def ours(folder: Folder, server: Machine) -> None:
    folder.owned_by(server.home.owner())


def make_socket(path: Path) -> None:
    # A socket's path has a limit, which a relative one does not reach.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


STRANGE_FILES = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a socket": make_socket,
    "an endless device": lambda path: os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5)),
    "a link to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nowhere": lambda path: path.symlink_to("/does/not/exist"),
    "a link to a secret": lambda path: path.symlink_to("/etc/passwd"),
}


@pytest.mark.parametrize("kind", STRANGE_FILES)
def test_what_is_no_plain_file_is_counted_and_never_opened(
    server: Machine, folder: Folder, kind: str
) -> None:
    keys = folder.good(GOOD)
    for path in (
        folder.path / "settings" / f"{BAD}_1.json",
        *(folder.path / "facts" / f"{BAD}_1.{fact}" for fact in ("id", "gone.1", "exit.1")),
    ):
        STRANGE_FILES[kind](path)
    ours(folder, server)
    found = read(server.shell)
    assert found.source.error == ""
    assert found.keys - {f"{BAD}_1"} == set(keys)
    assert (found.source.unreadable, found.source.skipped) == (4, 0)
    assert all(record.fact("exit", 1) for key, record in found.records.items() if str(key) in keys)


NO_KEYS = [
    "-rf",
    "with space.json",
    "…json",
    "x" * 250 + ".json",
    "two\nlines",
    f"{BAD.upper()}_1.json",
    f"{BAD}_0.json",
    f"{BAD}_01.json",
    f"{BAD}_1234567.json",
    f"{BAD}_1.json.tmp",
    f"{BAD}_1.exit.0",
    f"{BAD}_1.exit.123456",
    f"{BAD}_1.exit",
    f"{BAD}_1.other.1",
    f"{BAD}_1",
    f"{BAD[1:]}_1.json",
]
HIDDEN = ["..json", f".{BAD}_1.json"]  # not even listed


def test_names_that_are_no_keys_are_skipped_and_counted(server: Machine, folder: Folder) -> None:
    keys = folder.good(GOOD)
    for name in [*NO_KEYS, *HIDDEN]:
        (folder.path / "settings" / name).write_text(settings_text())
        (folder.path / "facts" / name).write_text(fact_text(code=0))
    ours(folder, server)
    found = read(server.shell)
    assert found.keys == set(keys)
    # In each of the two folders; the two lines of one name are two names to ls.
    assert (found.source.skipped, found.source.unreadable) == (2 * (len(NO_KEYS) + 1), 0)
    again = read(server.shell, found.cursor)
    assert again.source.skipped == found.source.skipped, "also told when nothing has changed"


BROKEN_SETTINGS: dict[str, bytes] = {
    "empty": b"",
    "half-written": settings_text().encode()[:30],
    "not JSON": b"hello\n",
    "a list": b"[1, 2]\n",
    "a number": b"17\n",
    "binary": bytes(range(256)) * 40,
    "3 MB": b'{"name": "' + b"x" * (3 << 20) + b'"}\n',
    "a surrogate": b'{"name": "\\ud800"}\n',
    "deeply nested": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
}
BROKEN_FACTS: dict[str, bytes] = {
    "empty": b"",
    "without its end": b"code=0\ntime=1700000000\n",
    "cut in a line": b"code=",
    "binary": bytes(range(256)) * 40,
    "3 MB": b"code=0\n" + b"x" * (3 << 20) + b"\nend\n",
}


@pytest.mark.parametrize("kind", BROKEN_SETTINGS)
def test_broken_settings_are_counted_and_read_once_they_are_whole(
    server: Machine, folder: Folder, kind: str
) -> None:
    keys = folder.good(GOOD)
    folder.settings(f"{BAD}_1", BROKEN_SETTINGS[kind])
    assert_asked_again(server, folder, keys, lambda: folder.settings(f"{BAD}_1"))


@pytest.mark.parametrize("kind", BROKEN_FACTS)
def test_broken_facts_are_counted_and_read_once_they_are_whole(
    server: Machine, folder: Folder, kind: str
) -> None:
    keys = folder.good(GOOD)
    folder.settings(f"{BAD}_1")
    folder.fact(f"{BAD}_1", "exit.1", BROKEN_FACTS[kind])
    assert_asked_again(
        server, folder, keys, lambda: folder.fact(f"{BAD}_1", "exit.1", fact_text(code=0, time=5))
    )


def test_a_file_that_cannot_be_opened_is_counted_and_read_later(server: Machine, folder: Folder) -> None:
    keys = folder.good(GOOD)
    path = folder.settings(f"{BAD}_1")
    path.chmod(0)
    assert_asked_again(server, folder, keys, lambda: path.chmod(0o600))


def assert_asked_again(server: Machine, folder: Folder, good: list[str], mend: object) -> None:
    ours(folder, server)
    first = read(server.shell)
    assert first.keys - {f"{BAD}_1"} == set(good)
    assert (first.source.unreadable, first.source.skipped) == (1, 0)
    again = read(server.shell, first.cursor)
    assert again.source.unreadable == 1, "not forgotten while nothing changes"
    assert again.chunks == ["bucket f"], "only its bucket is asked for again"
    assert callable(mend)
    mend()
    ours(folder, server)
    cured = read(server.shell, again.cursor)
    assert cured.source.unreadable == 0
    record = cured.records[JobKey.parse(f"{BAD}_1")]
    assert record.settings or record.facts
    settled = read(server.shell, cured.cursor)
    assert settled.chunks == [] and settled.size < 1024


HOSTILE_SETTINGS = {
    "huge numbers": '{"name": "n", "a": 1e999999, "b": ' + "9" * 4000 + "}",
    "nested as deep as a parser goes": '{"name": "n", "a": ' + "[" * 700 + "]" * 700 + "}",
    "the same member twice": '{"name": "first", "name": "n"}',
    "controls and bidi": '{"name": "n", "a": "\\u0000\\u001b[2J\\u202egpj.exe\\ufeff"}',
    "lines of ours": '{"name": "n", "a": "file x\\nclosed 5"}\nfile fake\nclosed 99\n|row\nbucket a 1-1',
}


@pytest.mark.parametrize("kind", HOSTILE_SETTINGS)
def test_hostile_json_is_cleaned_or_unreadable_and_harms_nothing_else(
    server: Machine, folder: Folder, kind: str
) -> None:
    keys = folder.good(GOOD)
    folder.settings(f"{BAD}_1", HOSTILE_SETTINGS[kind] + "\n")
    folder.fact(f"{BAD}_1", "exit.1", fact_text(code="9" * 30, time="9" * 30, **{"x" * 5000: 1}))
    ours(folder, server)
    found = read(server.shell)
    assert set(keys) <= found.keys <= {*keys, f"{BAD}_1"}
    record = found.records[JobKey.parse(f"{BAD}_1")]
    assert record.settings.get("name", "n") == "n"
    assert "\0" not in repr(record.settings) and "\u202e" not in str(record.settings)
    assert all(len(word) <= 40 for word in record.fact("exit", 1))
    hash_, n = BAD, 1
    state = server.submitter().check_state(hash_, n, False)
    assert (state["exit_code"], state["ended"]) == (None, None)


def test_times_that_no_calendar_has_are_no_times(server: Machine, folder: Folder) -> None:
    for number, time in enumerate(["9" * 12, "9" * 400, "-1", "1e9", "", "٣", "0x10", "253402300800"], 1):
        folder.settings(key_of(number))
        folder.fact(key_of(number), "id", fact_text(scheduler="process", id=time, submitted=time))
        folder.fact(key_of(number), "start.1", fact_text(time=time))
        folder.fact(key_of(number), "exit.1", fact_text(code=time, time=time))
    ours(folder, server)
    jobs = server.submitter()
    assert len(jobs.settings.list_keys()) == 8
    for key in jobs.settings.list_keys():
        hash_, n = key.rsplit("_", 1)
        assert jobs.check_state(hash_, int(n), False)["started"] is None


# ---- the cursor ----


def test_nothing_new_is_nothing_sent(server: Machine, folder: Folder) -> None:
    keys = folder.good(200)
    ours(folder, server)
    first = read(server.shell)
    assert first.keys == set(keys)
    again = read(server.shell, first.cursor)
    assert again.chunks == [] and again.cursor == first.cursor
    assert again.size <= 1024


def test_one_new_fact_sends_its_bucket_alone(server: Machine, folder: Folder) -> None:
    keys = folder.good(200)
    ours(folder, server)
    first = read(server.shell)
    folder.fact(keys[6], "cleaned")
    ours(folder, server)
    again = read(server.shell, first.cursor)
    assert again.chunks == ["bucket 7", "total"]
    assert again.keys == {key for key in keys if key.startswith("7")}
    assert again.records[JobKey.parse(keys[6])].fact("cleaned")
    assert read(server.shell, again.cursor).chunks == []


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x" * 1000,
        "[]",
        "{}",
        '{"total": 5}',
        '{"total": "1-1", "buckets": {"1": "1-1", "": "2-2", "01": "3-3"}, "sealed": ["../x", "a", "a"]}',
        '{"buckets": {"1": "1-1,2:5-5"}, "sealed": ["a,b"]}',
        "[" * 5000,
    ],
)
def test_a_cursor_that_is_none_of_ours_asks_for_everything(
    server: Machine, folder: Folder, cursor: str
) -> None:
    keys = folder.good(GOOD)
    ours(folder, server)
    assert read(server.shell, cursor).keys == set(keys)


def test_where_nothing_is_live_what_went_and_what_comes_is_told(server: Machine, folder: Folder) -> None:
    sealed_job(folder, f"{BAD}_1")
    odd = folder.path / "facts" / "notes"
    odd.write_text("no fact")
    ours(folder, server)
    first = read(server.shell)
    assert (first.keys, first.source.skipped) == ({f"{BAD}_1"}, 1)
    odd.unlink()
    empty = read(server.shell, first.cursor)
    assert (empty.keys, empty.source.skipped) == (set(), 0)
    assert read(server.shell, empty.cursor).chunks == []
    later = folder.settings(key_of(500))
    ours(folder, server)
    assert read(server.shell, empty.cursor).keys == {later.name.removesuffix(".json")}


def test_where_nothing_lives_no_program_is_started_to_say_so(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder.make(home)
    sealed_job(folder, f"{BAD}_1")
    with LocalShell() as shell:
        known = read(shell).cursor
        with monkeypatch.context() as bare:
            bare.setenv("PATH", str(tmp_path / "nothing"))
            again = read(shell, known)
        assert (again.source.error, again.chunks, again.cursor, again.skew) == ("", [], known, None)
        # A name that a pattern would stand for as well, and a link to nowhere, are names.
        for stray in (folder.path / "facts" / "*", folder.path / "settings" / "*"):
            stray.symlink_to("/does/not/exist")
            found = read(shell, known)
            assert (found.source.skipped, found.skew) == (1, pytest.approx(0, abs=2))
            stray.unlink()


def test_a_restored_cursor_misses_nothing(server: Machine, folder: Folder) -> None:
    folder.good(GOOD)
    ours(folder, server)
    old = read(server.shell).cursor
    later = folder.settings(key_of(500))
    ours(folder, server)
    newest = read(server.shell, old)
    later_key = later.name.removesuffix(".json")
    assert later_key in newest.keys
    assert later_key in read(server.shell, old).keys
    assert read(server.shell, newest.cursor).chunks == []


def test_a_cursor_of_another_registry_with_the_same_names_misses_nothing(
    server: Machine, folder: Folder
) -> None:
    """The folder was removed, and the same work submitted anew: the same names, other jobs."""
    keys = folder.good(GOOD)
    ours(folder, server)
    cursor = read(server.shell).cursor
    (folder.path / "version").write_text("remotejobs 1\nfedcba9876543210\n")
    for key in keys:
        (folder.path / "facts" / f"{key}.exit.1").write_text(fact_text(code=7, time=1800000000))
    found = read(server.shell, cursor)
    assert found.keys == set(keys)
    assert {record.fact("exit", 1)["code"] for record in found.records.values()} == {"7"}


def test_each_registry_is_made_with_a_mark_of_its_own(server: Machine) -> None:
    marks = set()
    for app in ("one", "two"):
        jobs = server.submitter(app)
        jobs.submit_job(jobs.create_settings(None, None, "true", scheduler="process"))
        first, mark = (server.registry(app) / "version").read_text().splitlines()
        assert first == "remotejobs 1"
        marks.add(mark)
    assert len(marks) == 2


def test_keys_whose_bucket_has_gone_are_listed_no_more(server: Machine, folder: Folder) -> None:
    keys = folder.good(16)
    ours(folder, server)
    jobs = server.submitter()
    assert jobs.settings.list_keys() == sorted(keys)
    for path in [*folder.path.glob("settings/a*"), *folder.path.glob("facts/a*")]:
        path.unlink()
    assert jobs.settings.list_keys() == [key for key in sorted(keys) if key[0] != "a"]


# ---- sealed batches ----


def sealed_job(folder: Folder, key: str, name: str = "b1") -> Path:
    document = folder.settings(key).read_text()
    (folder.path / "settings" / f"{key}.json").unlink()
    files = {
        f"{key}.json": document,
        f"{key}.id": fact_text(scheduler="process", id=4711, submitted=1700000000, cluster="elsewhere"),
        f"{key}.exit.1": fact_text(code=3, time=1700000100),
    }
    return folder.sealed(name, files, [key])


def test_sealed_batches_are_sent_once(server: Machine, folder: Folder) -> None:
    keys = folder.good(3)
    sealed_job(folder, f"{BAD}_1")
    sealed_job(folder, f"{BAD}_2", "b2")
    ours(folder, server)
    first = read(server.shell)
    assert first.keys == {*keys, f"{BAD}_1", f"{BAD}_2"}
    assert first.records[JobKey.parse(f"{BAD}_1")].fact("exit", 1)["code"] == "3"
    assert read(server.shell, first.cursor).chunks == []
    sealed_job(folder, f"{BAD}_3", "b3")
    ours(folder, server)
    assert read(server.shell, first.cursor).keys == {f"{BAD}_3"}
    assert read(server.shell, sealed=False).keys == set(keys)


def test_a_sealed_job_is_found_and_not_listed(server: Machine, folder: Folder) -> None:
    folder.good(3)
    sealed_job(folder, f"{BAD}_1")
    ours(folder, server)
    jobs = server.submitter()
    assert f"{BAD}_1" not in jobs.settings.list_keys()
    state = jobs.check_state(BAD, 1, False)
    assert (state["status"], state["exit_code"]) == ("failed", 3)
    with pytest.raises(NoSuchJob):
        jobs.check_state(BAD, 2, False)


def test_a_damaged_batch_keeps_nothing_else_away(server: Machine, folder: Folder) -> None:
    keys = folder.good(3)
    sealed_job(folder, f"{BAD}_1")
    broken = sealed_job(folder, f"{BAD}_2", "b2")
    whole = broken.read_bytes()
    unreadable = sealed_job(folder, f"{BAD}_3", "b3")
    unreadable.chmod(0)
    ours(folder, server)
    cut, flipped = whole[:-12], whole[:20] + bytes([whole[20] ^ 255]) + whole[21:]
    for damage in (cut, b"", b"no gzip at all\n", flipped):
        broken.write_bytes(damage)
        found = read(server.shell)
        assert found.keys == {*keys, f"{BAD}_1"}
        assert found.source.unreadable == 2
    broken.write_bytes(whole)
    unreadable.chmod(0o600)
    assert read(server.shell, found.cursor).keys == {f"{BAD}_2", f"{BAD}_3"}


@pytest.mark.parametrize("name", ["l", "p", "d", "x y"])
def test_what_is_no_batch_is_never_opened(server: Machine, folder: Folder, name: str) -> None:
    keys = folder.good(3)
    path = folder.path / "sealed" / f"{name}.gz"
    {"l": lambda: path.symlink_to("/dev/zero"), "p": lambda: os.mkfifo(path), "d": path.mkdir}.get(
        name, lambda: path.write_bytes(b"x")
    )()
    ours(folder, server)
    assert read(server.shell).keys == set(keys)


def test_a_number_that_only_the_sealed_lists_know_is_not_used_again(server: Machine) -> None:
    jobs = server.submitter()
    made = jobs.create_settings(None, None, "true", scheduler="process")
    hash_, n = jobs.submit_job(dict(made))["jobid"].rsplit("_", 1)
    folder = Folder(server.registry())
    (folder.path / "sealed" / "b9.names").write_text(f"{hash_}_2\n{hash_}_7\n")
    ours(folder, server)
    assert n == "1" and jobs.generate_id(made)[1:] == (8, False)
    assert jobs.submit_job(dict(made))["jobid"] == f"{hash_}_8"


def test_a_sealed_job_is_run_again_from_what_the_batch_kept(server: Machine) -> None:
    jobs = server.submitter()
    made = jobs.create_settings(None, None, "echo ran > ~/ran", scheduler="process")
    jobid = jobs.submit_job(made)["jobid"]
    folder = Folder(server.registry())
    files = [*(folder.path / "settings").iterdir(), *(folder.path / "facts").iterdir()]
    folder.sealed("b1", {path.name: path.read_text() for path in files}, [jobid])
    for path in files:
        path.unlink()
    ours(folder, server)
    hash_, n = jobs.resubmit_job(jobid.rsplit("_", 1)[0], 1)
    assert n == 2
    assert jobs.check_state(hash_, 2, False)["again_of"] == jobid


# ---- size ----

# The largest size of this process alone: what getrusage gives begins with that of its parent.
FIRST_READ = """
from pathlib import Path
from remotejobs.exchange import Request, SourceRequest, exchange
from remotejobs.shell import LocalShell
def largest():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
before = largest()
answer = exchange(LocalShell(), Request([SourceRequest("remoteJobs-vistrails")]))
keys = set()
for chunk in answer.sources["remoteJobs-vistrails"].chunks():
    keys.update(record.key for record in chunk.records)
print(len(keys), largest() - before)
"""


def test_a_first_read_of_many_records_stays_small(home: Path) -> None:
    folder = Folder.make(home)
    text = settings_text(script="#!/bin/sh\n" + "echo a line of a script\n" * 60)
    for number in range(2000):
        folder.settings(key_of(number), text)
    for batch in range(9):
        keys = [key_of(number) for number in range(2000 * (batch + 1), 2000 * (batch + 2))]
        files = {}
        for key in keys:
            files[f"{key}.json"] = text
            files[f"{key}.exit.1"] = fact_text(code=0, time=1700000000)
        folder.sealed(f"b{batch}", files, keys)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FIRST_READ)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    count, kilobytes = map(int, done.stdout.split())
    assert count == 20_000
    assert kilobytes < 100 << 10, f"{kilobytes} KB"
