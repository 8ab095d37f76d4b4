"""The wire: an answer that was cut, forged or flooded changes nothing; a request that is hostile or cut runs nothing."""

import base64
import gzip
import random
import socket
import subprocess
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from library.bounded import bounded
from library.registries import APP, Folder, fact_text, key_of, listing

from remotejobs import exchange as wire
from remotejobs import packed
from remotejobs.answer import Answer
from remotejobs.cursor import Cursor
from remotejobs.errors import AnswerBroken, BadInput, RemoteJobsError
from remotejobs.exchange import Cancel, Request, SourceRequest, Submission, command, encode, exchange
from remotejobs.reader import MOST_LOGS, read_answer
from remotejobs.records import JobKey
from remotejobs.shell import LocalShell
from remotejobs.testing import answer as output_of

WORD = "00112233445566ff"
UUID = "01234567-89ab-cdef-0123-456789abcdef"
KEY = key_of(1)
HELLO = f"{WORD} hello 1 1700000000 host Linux\n"
BYE = f"{WORD} bye\n"


def probe(home: Path, request: bytes) -> subprocess.CompletedProcess[bytes]:
    """The program at the other end, as a login shell of an account with this home starts it."""
    return subprocess.run(
        ["/bin/sh", "-c", command(whole=True, cleans=True, asks=True)],
        input=request,
        capture_output=True,
        check=False,
        cwd=home,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"},
    )


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return a_true_answer(tmp_path_factory.mktemp("home"))


def a_true_answer(home: Path) -> bytes:
    """Records, a sealed batch, a queue with a row, an outcome, the end of a job's output."""
    folder = Folder.make(home)
    folder.good(20)
    host = socket.gethostname().partition(".")[0]
    words = {"scheduler": "process", "cluster": host, "host": host, "id": 4711, "submitted": 1700000000}
    folder.settings(key_of(40))
    folder.fact(key_of(40), "id", fact_text(**words, sid=4711, start_ticks=1, boot="x"))
    folder.sealed("b1", {f"{key_of(60)}.json": '{"name": "sealed"}\n'}, [key_of(60)])
    (folder.path / "runs" / key_of(40)).mkdir()
    (folder.path / "runs" / key_of(40) / "stdout").write_text("printed\n" * 9)
    request = Request([SourceRequest(APP)], [Cancel(UUID, APP, JobKey.parse(key_of(40)))])
    request.questions.append(("log", APP, key_of(40), "stdout", "20"))
    done = probe(home, encode(request, WORD))
    assert done.returncode == 0
    return done.stdout


def take(content: bytes | str, cursors: dict[str, Cursor] | None = None) -> Answer:
    raw = content.encode() if isinstance(content, str) else content
    known = {APP: Cursor()} if cursors is None else cursors
    return read_answer(output_of(raw), known, {UUID: APP}, WORD, 1700000000.0, "alps")


def records_of(answer: Answer) -> dict[JobKey, Any]:
    return {record.key: record for chunk in answer.sources[APP].chunks() for record in chunk.records}


def test_the_true_answer_is_read(real: bytes) -> None:
    answer = take(real)
    found = records_of(answer)
    assert len(found) == 22
    (queue,) = [queue for queue in answer.queues if queue.scheduler == "process"]
    assert queue.complete and queue.accounting == "none" and len(queue.lines) == 1
    assert answer.outcomes[UUID].state == "done"
    (log,) = answer.logs
    assert (log.size, log.text) == (72, "printed\nprinted\n")


def test_an_answer_that_was_cut_anywhere_changes_nothing(real: bytes) -> None:
    ends = [at + shift for at in range(len(real)) if real[at] == 10 for shift in (0, 1)]
    ends = [*ends, *random.Random(1).sample(range(len(real)), 300), 0]
    for end in ends:
        if end < len(real):
            with pytest.raises(AnswerBroken):
                take(real[:end])


# ---- forged and partial answers ----


def test_a_queue_without_its_closing_line_says_nothing() -> None:
    queue = f"{WORD} queue slurm alps host 1700000000\n|q|{WORD}|1|RUNNING\n"
    assert take(HELLO + queue + BYE).queues == []
    other = take(HELLO + queue + f"{WORD} closed queue process 0\n" + BYE)
    assert other.queues == [], "the closing line of another one does not close it"
    failed = take(HELLO + queue + f"{WORD} closed queue slurm 1\n" + BYE)
    assert [queue.complete for queue in failed.queues] == [False]
    whole = take(HELLO + queue + f"{WORD} closed queue slurm 0\n" + BYE)
    assert [queue.complete for queue in whole.queues] == [True]


@pytest.mark.parametrize("row", ["q|1|RUNNING", "q|ffffffffffffffff|1|RUNNING", "|", WORD, f"{WORD}|q|x"])
def test_a_row_without_the_word_of_the_request_is_none(row: str) -> None:
    body = f"{WORD} queue slurm alps host 1700000000\n|{row}\n{WORD} closed queue slurm 0\n"
    assert take(HELLO + body + BYE).queues[0].lines == []


def test_lines_without_the_word_are_noise() -> None:
    forged = "0000000000000000 source x\nsource y\nbye\n" + BYE.replace(WORD, WORD[::-1])
    assert set(take(forged + HELLO + forged + BYE).sources) == {APP}


def test_more_logs_than_anybody_asks_for_break_an_answer() -> None:
    logs = "".join(f"{WORD} log {'0' * 32}_{n} stdout 5 c2FpZAo=\n" for n in range(1, MOST_LOGS + 1))
    assert len(take(HELLO + logs + BYE).logs) == MOST_LOGS
    for line in ("log", "nolog"):
        rest = "stdout 5 c2FpZAo=" if line == "log" else "stdout no-log"
        with pytest.raises(AnswerBroken, match="more logs than anybody asks for"):
            take(HELLO + logs + f"{WORD} {line} {'0' * 32}_99 {rest}\n" + BYE)


def test_a_source_that_is_left_out_or_not_closed_counts_as_unread() -> None:
    for body in ("", f"{WORD} source {APP}\n", f"{WORD} source {APP}\n{WORD} closed source {APP} 1\n"):
        assert take(HELLO + body + BYE).sources[APP].error


@pytest.mark.parametrize(
    "body",
    [
        "source other",
        f"outcome {UUID[::-1]} done - - submitted",
        f"outcome {UUID} done no-key - submitted",
        f"outcome {UUID}",
        "hello",
        "hello 1 never host Linux",
        f"hello 1 {'9' * 400} host Linux",
        "packed",
        "skipped 5",
        f"source {APP}\n{WORD} skipped -5",
        f"source {APP}\n{WORD} skipped {'9' * 5000}",
        f"source {APP}\n{WORD} total x",
        f"source {APP}\n{WORD} packed",
        f"source {APP}\n{WORD} sealed ../../x 5\nabcde",
        f"source {APP}\n{WORD} sealed b1.gz -5",
        f"source {APP}\n{WORD} sealed b1.gz 99999999999",
        "queue slurm alps host then",
        "claimed many",
        "text not!base64",
    ],
)
def test_a_line_of_ours_that_cannot_be_is_a_broken_answer(body: str) -> None:
    with pytest.raises(AnswerBroken):
        take(HELLO + f"{WORD} {body}\n" + BYE)


def test_an_outcome_in_no_known_state_is_not_known() -> None:
    said = take(HELLO + f"{WORD} outcome {UUID} splendid - - submitted\n" + BYE).outcomes[UUID]
    assert said.state == "unknown"


def packed_part(text: bytes) -> bytes:
    head = f"{HELLO}{WORD} source {APP}\n{WORD} packed\n".encode()
    end = f"{WORD} closed source {APP} 0\n{BYE}".encode()
    return head + base64.encodebytes(gzip.compress(text)) + end


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"bucket a 1-1\n",
        b"|closed 5",
        b"x closed 5\n",
        b"|" + b"x" * 46 + b"closed 5\n",
        b"|x\rclosed 5\n",
        b"closed 5",
        b"closed many\n",
    ],
)
def test_a_packed_part_without_its_last_line_is_broken(text: bytes) -> None:
    with pytest.raises(AnswerBroken):
        take(packed_part(text))


@pytest.mark.parametrize(
    "bucket", [b"bucket a", b"bucket", b"bucket zz 1-1", b"bucket a x", b"bucket a 1-1 2"]
)
def test_a_bucket_that_cannot_be_is_a_broken_answer(bucket: bytes) -> None:
    answer = take(packed_part(bucket + b"\nclosed 0\n"))
    with pytest.raises(AnswerBroken):
        list(answer.sources[APP].chunks())


@pytest.mark.parametrize(
    "name", ["x", f"{KEY}.exit.9999999", f"{KEY}.../x", f"{KEY}.EXIT.1", f"{KEY}.sched.\u0661"]
)
def test_a_file_that_is_none_of_a_record_is_unreadable(name: str) -> None:
    answer = take(packed_part(f"bucket 1 1-1\nfile {name}\n|end\nclosed 1\n".encode()))
    assert records_of(answer) == {} and answer.sources[APP].unreadable == 1


def source_answer(buckets: str, *texts: str) -> Answer:
    parts = [f"{WORD} packed\n".encode() + base64.encodebytes(gzip.compress(text.encode())) for text in texts]
    head = f"{HELLO}{WORD} source {APP}\n{WORD} skipped 0\n{buckets}".encode()
    end = f"{WORD} total 9-9\n{WORD} closed source {APP} 0\n{BYE}".encode()
    return take(head + b"".join(parts) + end)


EMPTY_FACT = f"file {KEY}.exit.1\n|end\n"


@pytest.mark.parametrize(
    ("buckets", "texts", "total", "kept"),
    [
        ("1", [f"bucket 1 1-1\n{EMPTY_FACT}closed 1\n"], "9-9", {"1": "1-1"}),
        ("-", ["closed 0\n"], "9-9", {}),
        ("1", [f"bucket 1 1-1\n{EMPTY_FACT}closed 2\n"], "", {}),
        ("1", [f"bucket 1 1-1\n{EMPTY_FACT}closed 1\nclosed 0\n"], "", {}),
        ("12", [f"bucket 1 1-1\n{EMPTY_FACT}bucket 2 2-2\nclosed 3\n"], "", {}),
        ("12", [f"bucket 1 1-1\n{EMPTY_FACT}closed 1\n"], "", {"1": "1-1"}),
        ("12", [f"bucket 1 1-1\n{EMPTY_FACT}closed 1\n", "bucket 2 2-2\nclosed 5\n"], "", {"1": "1-1"}),
        (None, [f"bucket 1 1-1\n{EMPTY_FACT}closed 1\n"], "", {"1": "1-1"}),
    ],
    ids=[
        "all came",
        "nothing is there",
        "a file is missing",
        "a file too many",
        "a file of some bucket is missing",
        "a bucket is missing",
        "a file of the second part is missing",
        "nobody says which buckets there are",
    ],
)
def test_what_did_not_come_is_asked_for_again(
    buckets: str | None, texts: list[str], total: str, kept: dict[str, str]
) -> None:
    answer = source_answer(f"{WORD} buckets {buckets}\n" if buckets else "", *texts)
    cursor = Cursor.parse([chunk.cursor for chunk in answer.sources[APP].chunks()][-1])
    assert (cursor.total, cursor.buckets) == (total, kept)


# ---- floods ----


class Flood:
    """A server that never stops talking."""

    def run(self, _command: str, *arguments: Any, **options: Any) -> Any:
        return LocalShell().run("exec yes", *arguments, **options)


def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ANSWER_LIMIT", 3_000_000)
    with pytest.raises(AnswerBroken, match="longer than 3000000 bytes"):
        exchange(Flood(), Request([SourceRequest(APP)]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(b"|" + b"x" * (60 << 20) + b"\nclosed 1\n", id="one line"),
        pytest.param(b"|x\n" * (10 << 20) + b"closed 1\n", id="many lines"),
        pytest.param(b"\n" * (20 << 20) + b"closed 1\n", id="empty lines"),
    ],
)
@pytest.mark.parametrize("limit", [16 << 20, 8 << 30], ids=["too large", "allowed"])
def test_a_packed_part_that_swells_up_stays_small_here(
    monkeypatch: pytest.MonkeyPatch, bomb: bytes, limit: int
) -> None:
    monkeypatch.setattr(packed, "UNPACKED_LIMIT", limit)
    content = packed_part(bomb)
    tracemalloc.start()
    try:
        if limit < len(bomb):
            with pytest.raises(AnswerBroken, match="larger than any true"):
                take(content)
        else:
            with pytest.raises(AnswerBroken, match=r"larger than any true|none of ours"):
                records_of(take(content))
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


# Where (a part of its length), how many bytes are cut out, and what is put there.
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 40),
        st.binary(max_size=12)
        | st.sampled_from([b"\n", f"\n{WORD} ".encode(), b"source", b"-1", b"|", b"closed"]),
    ),
    min_size=1,
    max_size=6,
)


def an_edited_answer_is_read_or_refused(real: bytes, edits: list[tuple[float, int, bytes]]) -> None:
    content = real
    for where, cut, put in edits:
        at = int(where * len(content))
        content = content[:at] + put + content[at + cut :]
    try:
        with bounded(16 << 20):
            records_of(take(content))
    except RemoteJobsError as error:
        assert str(error)


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=EDITS)
def test_whatever_comes_is_read_or_refused(real: bytes, edits: list[tuple[float, int, bytes]]) -> None:
    an_edited_answer_is_read_or_refused(real, edits)


WIDE = "".join(f"|w{n}={'x' * 4000}\n" for n in range(60)) + "|end\n"  # a fact as large as one may be
NARROW = "".join(f"|{word}=\n" for word in map(chr, range(65, 91))) + "|end\n"


@pytest.mark.parametrize(
    ("files", "text"),
    [
        pytest.param([f"{KEY}.exit.{n}" for n in range(1, 500)], WIDE, id="large facts of one job"),
        pytest.param([f"{KEY}.exit.{n}" for n in range(1, 9_999)], NARROW, id="many facts of one job"),
        pytest.param([f"{key_of(n)}.id" for n in range(1, 500)], WIDE, id="large facts of many jobs"),
        pytest.param([f"{key_of(n % 9 + 1)}.exit.{n + 1}" for n in range(500)], WIDE, id="jobs in turn"),
    ],
)
def test_however_much_a_server_tells_of_its_jobs_little_is_held_at_once(files: list[str], text: str) -> None:
    named = "".join(f"file {name}\n{text}" for name in files)
    content = packed_part(f"bucket 1 1-1\n{named}closed {len(files)}\n".encode())
    del named
    answer, records = take(content), 0
    tracemalloc.start()
    try:
        for chunk in answer.sources[APP].chunks():
            records += len(chunk.records)
            assert all(len(record.facts) <= 500 for record in chunk.records)
        assert tracemalloc.get_traced_memory()[1] < 80 << 20
    finally:
        tracemalloc.stop()
    assert records


def test_what_a_job_has_too_many_of_is_counted_as_unread() -> None:
    files = "".join(f"file {KEY}.exit.{n}\n|end\n" for n in range(1, 502))
    answer = take(packed_part(f"bucket 1 1-1\n{files}closed 501\n".encode()))
    (record,) = records_of(answer).values()
    assert (len(record.facts), answer.sources[APP].unreadable) == (500, 1)


# ---- requests ----


@pytest.mark.parametrize("uuid", ["", "a\tb", "a\nb", "a\rb", "a\0b"])
def test_a_word_that_would_be_two_is_not_sent(uuid: str) -> None:
    with pytest.raises(BadInput, match="cannot be sent"):
        encode(Request([], [Cancel(uuid, APP, JobKey.parse(KEY))]), WORD)


def test_a_request_that_was_cut_changes_nothing(tmp_path: Path) -> None:
    Folder.make(tmp_path).good(1)
    document = '{\n"name": "n",\n"scheduler": "process",\n"shell": "/bin/sh",\n"job": "true"\n}\n'
    action = Submission(UUID, APP, "a" * 32, "process", document, time.time())
    request = encode(Request([SourceRequest(APP)], [action]), WORD)
    before = listing(tmp_path)
    for end in [*range(0, len(request) - 1, 11), len(request) - 5, len(request) - 2]:
        done = probe(tmp_path, request[:end])
        assert (done.returncode, b"hello" in done.stdout) == (65, False), end
    assert listing(tmp_path) == before


EVIL = [
    "$(touch ~/canary)",
    "`touch ~/canary`",
    ";touch ~/canary;",
    "../../etc",
    "*",
    "-rf",
    "x y",
    "'",
    '"',
    "\\",
    "é",
]
B64 = base64.b64encode(b"$(touch ~/canary)").decode()
NOW_HASH = "b" * 32


@pytest.mark.parametrize("evil", EVIL)
def test_the_probe_checks_each_word_itself(tmp_path: Path, evil: str) -> None:
    folder = Folder.make(tmp_path)
    folder.good(2)
    now = str(int(time.time()))
    lines = [
        f"source\t{evil}\t-\t-\t-",
        f"source\t{APP}\t{evil}\t{evil}\t{evil}",
        f"cancel\t{evil}\t{APP}\t{KEY}\t-",
        f"cancel\t{UUID}\t{evil}\t{KEY}\t-",
        f"cancel\t{UUID}\t{APP}\t{evil}\t{evil}",
        f"submit\t{evil}\t{APP}\t{NOW_HASH}\tprocess\t{now}\t{B64}",
        f"submit\t{UUID}\t{evil}\t{NOW_HASH}\tprocess\t{now}\t{B64}",
        f"submit\t{UUID}\t{APP}\t{evil}\tprocess\t{now}\t{B64}",
        f"submit\t{UUID}\t{APP}\t{NOW_HASH}\t{evil}\t{now}\t{B64}",
        f"submit\t{UUID}\t{APP}\t{NOW_HASH}\tprocess slurm\t{now}\t{B64}",
        f"submit\t{UUID}\t{APP}\t{NOW_HASH}\tprocess\t{evil}\t{B64}",
        f"resubmit\t{UUID}\t{APP}\t{evil}\t{now}",
        f"resubmit\t{UUID}\t{evil}\t{KEY}\t{now}",
        f"resubmit\t{evil}\t{APP}\t{KEY}\t{now}",
        f"claimed\t{evil}\t{NOW_HASH}\t-",
        f"claimed\t{APP}\t{evil}\t-",
        f"log\t{APP}\t{evil}\tstdout\t100\t-",
        f"log\t{APP}\t{KEY}\t{evil}\t100\t-",
        f"log\t{APP}\t{KEY}\tstdout\t{evil}\t-",
        f"log\t{evil}\t{KEY}\tstdout\t100\t-",
        f"clean\t{APP}\t{evil}\t-",
        f"clean\t{evil}\t{KEY}\t-",
        f"seal\t{evil}\t5\t86400\t86400\tdo",
        f"seal\t{APP}\t{evil}\t86400\t86400\tdo",
        f"seal\t{APP}\t5\t{evil}\t{evil}\tdo",
        f"seal\t{APP}\t5\t86400\t86400\t{evil}",
        f"prune\t{APP}\t0\t{evil}\t0\tdo",
        f"prune\t{APP}\t0\t86400\t0\t{evil}",
        f"look\t{evil}\t{evil}\t-",
        f"look\t{B64}\t{B64}\t-",
        f"{evil}\t{evil}",
    ]
    before = listing(tmp_path)
    request = "".join(line + "\n" for line in [f"remotejobs\t1\t{WORD}\t60", *lines, "end"])
    done = probe(tmp_path, request.encode())
    assert done.stdout.endswith(BYE.encode())
    outcomes = [line.split()[3] for line in done.stdout.splitlines() if line.split()[1:2] == [b"outcome"]]
    assert outcomes and b"done" not in outcomes
    assert not (tmp_path / "canary").exists()
    assert listing(tmp_path) == before


@pytest.mark.parametrize("evil", [*EVIL, "", "0123456789ABCDEF"])
def test_the_first_line_is_checked_as_well(tmp_path: Path, evil: str) -> None:
    for line in (f"remotejobs\t1\t{evil}\t60", f"remotejobs\t1\t{WORD}\t{evil}", f"{evil}\t1\t{WORD}\t60"):
        assert probe(tmp_path, f"{line}\nend\n".encode()).returncode == 65
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]
