"""A thief of the narrow key may send any bytes: nothing runs, nothing is made, moved or read that the key is not for."""

import base64
import itertools
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.sshd import Sshd
from library.machines import APP
from library.narrow import COMMAND, Narrow, narrow_account
from library.registries import MADE, Folder, fact_text, key_of, listing

from remotejobs.document import document
from remotejobs.settings import create
from remotejobs.shell import SSHShell

WORD = "0011223344556677"
UUID = "01234567-89ab-cdef-0123-456789abcdef"
KEY = key_of(1)
SECRET = "nobody may read this"
PIECE = [
    "source\tAPP\t-\t-\t-",
    f"cancel\t{UUID}\tAPP\t{KEY}\t-",
    f"resubmit\t{UUID}\tAPP\t{KEY}\t1",
    f"log\tAPP\t{KEY}\tstdout\t100\t-",
]


@pytest.fixture(scope="module")
def narrow(sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Narrow]:
    yield from narrow_account(sshd, tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def home(narrow: Narrow) -> Path:
    """A registry with jobs that have ended, folders that are none, and what nobody may read."""
    home = narrow.account.home
    folder = Folder.make(home)
    folder.ended(KEY)
    for number in (2, 3, 4, 5, 6):
        folder.ended(key_of(number))
    (home / "secret").write_text(SECRET)
    runs = folder.path / "runs"
    for number, make in ((2, os.link), (3, os.symlink)):
        (runs / key_of(number) / "stdout").unlink()
        make(home / "secret", runs / key_of(number) / "stdout")
    (runs / key_of(4) / "stdout").unlink()
    os.mkfifo(runs / key_of(4) / "stdout")
    (runs / key_of(5)).rename(home / "elsewhere")
    (home / "elsewhere" / "stdout").write_text(SECRET)
    (runs / key_of(5)).symlink_to(home / "elsewhere")
    for name in (".other", ".link"):
        (home / ".foreign").mkdir(exist_ok=True)
        (home / ".foreign" / "settings").mkdir(exist_ok=True)
        (home / name).symlink_to(".foreign")
    folder.sealed("b1", {f"{key_of(60)}.json": json.dumps({"name": "x"}) + "\n"}, [key_of(60)])
    _hidden_batch(home)
    folder.owned_by(narrow.account.user)
    return home


def _hidden_batch(home: Path) -> None:
    """What a name with `..` in the list of sealed batches would lead to."""
    hidden = Folder(home / "hidden")
    (hidden.path / "sealed").mkdir(parents=True)
    hidden.sealed("b2", {f"{KEY}.json": json.dumps({"name": SECRET}) + "\n"}, [KEY])


@pytest.fixture(scope="module")
def shell(narrow: Narrow) -> SSHShell:
    return narrow.shell


def request(*lines: str, first: str = f"remotejobs\t1\t{WORD}\t60", end: str = "end\n") -> bytes:
    return "".join(f"{line}\n" for line in [first, *lines]).replace("APP", APP).encode() + end.encode()


def ask(shell: SSHShell, data: bytes, command: str = COMMAND) -> bytes:
    with shell.run(command, data, timeout=40) as output:
        return output.stdout.read() + output.stderr


HOSTILE = [
    *(
        "$(touch canary)",
        "`touch canary`",
        ";touch canary;",
        "|touch canary",
        "&& touch canary #",
        "x\ntouch canary",
    ),
    *(
        "../../secret",
        "../hidden/sealed/b2.gz",
        "/etc/passwd",
        "~",
        "*",
        "?",
        "-rf",
        "--help",
        "${HOME}",
        "$IFS",
        "..",
        ".",
    ),
    *(
        "'",
        '"',
        "\\",
        "\\n",
        "a\0b",
        "\0",
        "é",
        "\x1b[2J",
        "\r",
        "%s%n",
        "9" * 400,
        "a" * 5000,
        "",
        " ",
        "0x1",
        "-1",
        "１",
    ),
]


def fields() -> Iterator[tuple[str, int]]:
    for piece in PIECE:
        for at in range(1, piece.count("\t") + 1):
            yield piece, at
    yield "resubmit\t" + f"{UUID}\tAPP\t{KEY}\t1\twalltime=60", 5


def hostile_requests() -> list[bytes]:
    """Every hostile word somewhere, and every field with several of them."""
    words = itertools.cycle(HOSTILE)
    found = []
    for piece, at in fields():
        for word in itertools.islice(words, 3):
            line = piece.split("\t")
            line[at] = word
            found.append(request("\t".join(line)))
    found += [request(PIECE[0], first=f"remotejobs\t1\t{word}\t60") for word in HOSTILE[:6]]
    found += [request(PIECE[0], first=f"remotejobs\t{word}\t{WORD}\t60") for word in HOSTILE[:6]]
    found += [request(PIECE[0], first=f"remotejobs\t1\t{WORD}\t{word}") for word in HOSTILE[:6]]
    return found


def whole_requests() -> dict[str, bytes]:
    script = document(
        create(None, None, "touch ~/canary", [], "", "", {}, scheduler="process", shell="/bin/sh")
    )
    packed = base64.b64encode(script.encode()).decode()
    path = base64.b64encode(b"secret").decode()
    return {
        "nothing": b"",
        "no end": request(PIECE[0], end=""),
        "no head": b"end\n",
        "sh": b"touch canary\n",
        "binary": bytes(range(256)) * 40,
        "zeros": b"\0" * 10_000,
        "one endless line": b"remotejobs\t" + b"1" * (3 << 20),
        "two MiB": request(*[PIECE[0]] * 100_000),
        "too many sources": request(*[PIECE[0]] * 101),
        "too many actions": request(*[PIECE[1]] * 1001),
        "too many logs": request(*[PIECE[3]] * 11),
        "line ends of another system": request(PIECE[0]).replace(b"\n", b"\r\n"),
        "a submission": request(f"submit\t{UUID}\tAPP\t{'a' * 32}\tprocess\t{int(time.time())}\t{packed}"),
        "a submission without its name": request(f"submit\tx\tAPP\t{'a' * 32}\tprocess\t1\t{packed}"),
        "a script of the server": request(f"look\t{base64.b64encode(b'~').decode()}\t{path}"),
        "cleaning": request(PIECE[0], "seal\tAPP\t5000\t0\t0\tdo", f"clean\tAPP\t{KEY}\t-"),
        "pruning": request(PIECE[0], "prune\tAPP\t0\t0\t-\tdo"),
        "other questions": request(f"claimed\tAPP\t{'a' * 32}\t-", "detect\t-"),
        "a verb of no version": request("rm\t-rf\t.", "main\t", "question_look\tx\ty"),
        "a change that is none": request(f"resubmit\t{UUID}\tAPP\t{KEY}\t{int(time.time())}\taccount=x"),
        "another script": request(f"resubmit\t{UUID}\tAPP\t{KEY}\t{int(time.time())}\tcommand=touch canary"),
        "many changes": request(f"resubmit\t{UUID}\tAPP\t{KEY}\t{int(time.time())}" + "\tcores=1" * 5),
        "a line in a partition": request(
            f"resubmit\t{UUID}\tAPP\t{KEY}\t{int(time.time())}\tpartition=a\\n#SBATCH --wrap=id"
        ),
        "other folders": request(
            *(f"source\t{app}\t-\t-\t-" for app in ("ssh", "other", "link", "foreign", "remotejobs-gate"))
        ),
        "a job of another folder": request(
            f"cancel\t{UUID}\tssh\t{KEY}\t-", f"log\tssh\t{KEY}\tstdout\t100\t-"
        ),
        "other batches": request(
            "source\tAPP\t-\t-\t../../hidden/sealed/b2.gz\twhole", f"log\tAPP\t{KEY}\tstdout\t1\t-"
        ),
        "another file": request(
            f"log\tAPP\t{KEY}\t../../../../secret\t65536\t-", f"log\tAPP\t{KEY}\tscript\t100\t-"
        ),
        "logs that are none": request(
            *(f"log\tAPP\t{key_of(n)}\t{s}\t9999\t-" for n in (2, 3, 4, 5) for s in ("stdout", "stderr"))
        ),
        "of another protocol": request("submit\tx", first=f"remotejobs\t9\t{WORD}\t60"),
    }


def test_there_are_enough_of_them() -> None:
    assert len(hostile_requests()) + len(whole_requests()) > 100


def test_no_hostile_word_runs_or_reads_or_changes_anything(shell: SSHShell, home: Path) -> None:
    before = listing(home)
    for data in hostile_requests():
        said = ask(shell, data)
        assert SECRET.encode() not in said, data
        assert b"that was no request" in said or f"{WORD} bye".encode() in said or b" bye\n" in said, (
            data,
            said,
        )
        assert not list(home.rglob("canary")), data
    assert [entry for entry in listing(home) if entry not in before] == []


@pytest.mark.parametrize("what", whole_requests())
def test_a_hostile_request_runs_or_reads_or_changes_nothing(shell: SSHShell, home: Path, what: str) -> None:
    before = listing(home)
    said = ask(shell, whole_requests()[what])
    assert SECRET.encode() not in said and base64.b64encode(SECRET.encode()) not in said
    assert not any(word in said for word in (b"root:", b" submitted", b"hidden"))
    assert listing(home) == before
    if what == "a submission":
        assert f"{WORD} outcome {UUID} refused - - narrow".encode() in said
    if what == "of another protocol":
        assert said.split() == f"{WORD} hello 1".encode().split() + said.split()[3:-2] + [
            WORD.encode(),
            b"bye",
        ]


@pytest.mark.parametrize(
    "command",
    [
        "touch canary",
        "",
        f"{COMMAND}; touch canary",
        "exec /bin/sh -c 'touch canary'",
        "$(touch canary)",
        "exec /bin/sh -c \n touch canary",
        "x" * 60_000,
    ],
)
def test_no_command_that_a_client_names_is_run(shell: SSHShell, home: Path, command: str) -> None:
    before = listing(home)
    said = ask(shell, request(PIECE[0]), command)
    assert (f"{WORD} hello 1 ".encode() in said) == command.startswith("exec /bin/sh -c ")
    assert listing(home) == before


CRAFTED = {
    "name": {"name": "$(touch ~/canary)`touch ~/canary`; touch ~/canary"},
    "shell": {"shell": "/usr/bin/touch canary"},
    "another shell": {"shell": "touch /tmp/x; sh"},
    "scheduler": {"scheduler": "process; touch canary"},
    "no scheduler": {"scheduler": "$(touch canary)"},
    "options": {"options": {"walltime": "$(touch canary)", 'a": {"b': "c"}},
    "key": {"jobid": f"{KEY}; touch canary", "again_of": "$(touch canary)"},
}


@pytest.mark.parametrize("what", CRAFTED)
def test_a_record_that_somebody_crafted_runs_nothing_of_its_own(
    shell: SSHShell, narrow: Narrow, home: Path, what: str
) -> None:
    """Its script is the job that it is of; the other members are words, and none of them a command."""
    key = f"{'c' * 31}{list(CRAFTED).index(what):x}_1"
    members = json.loads(
        document(create(None, None, "true", [], "", "", {}, scheduler="process", shell="/bin/sh"))
    )
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(value)}" for name, value in (members | CRAFTED[what]).items()
    )
    folder = Folder(home / f".{APP}")
    folder.settings(key, "{\n" + lines + "\n}\n")
    hostile = {
        "scheduler": "$(touch canary)",
        "cluster": "`touch canary`",
        "id": "1; touch canary",
        "submitted": "x y",
    }
    folder.fact(key, "id", fact_text(**hostile))
    folder.fact(key, "gone.1", fact_text(time="$(touch canary)"))
    folder.owned_by(narrow.account.user)
    asked = [
        f"resubmit\t{uuid.uuid4()}\tAPP\t{key}\t{int(time.time())}{more}" for more in ("\twalltime=60", "")
    ]
    cancel, log = f"cancel\t{UUID}\tAPP\t{key}\tsent", f"log\tAPP\t{key}\tstdout\t100\t-"
    said = ask(shell, request("source\tAPP\t-\t-\t-\twhole", cancel, log, *asked))
    assert f"{WORD} bye".encode() in said and said.count(b" outcome ") == 3
    assert not list(home.rglob("canary"))
    assert (folder.path / "version").read_text() == f"remotejobs 1\n{MADE}\n"
