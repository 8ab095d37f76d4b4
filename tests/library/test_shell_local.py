"""LocalShell, and what all shells have in common; FakeShell."""

import hashlib
import io
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from remotejobs.errors import AnswerBroken, TimedOut, Unreachable
from remotejobs.shell import LocalShell
from remotejobs.testing import FakeShell, answer


def test_a_command_gets_its_data_and_gives_both_streams_and_its_status() -> None:
    with LocalShell().run("cat; echo oops >&2; exit 3", b"data") as output:
        assert (output.status, output.stdout.read(), output.size) == (3, b"data", 4)
        assert output.stderr == b"oops\n"


def test_a_command_starts_in_the_home_folder_as_after_a_login(home: Path) -> None:
    assert LocalShell().run("pwd").stdout.read().decode().strip() == str(home)


def test_much_data_goes_through_both_ways_at_once_and_is_intact() -> None:
    data = bytes(range(256)) * 40_000  # 10 MB, which no pipe holds
    seen: list[int] = []
    with LocalShell().run("cat", io.BytesIO(data), progress=seen.append) as output:
        assert hashlib.sha256(output.stdout.read()).digest() == hashlib.sha256(data).digest()
    assert seen == sorted(seen)
    assert seen[-1] == output.size == len(data)


def test_a_program_may_end_without_reading_its_data() -> None:
    assert LocalShell().run("exit 4", bytes(5_000_000)).status == 4


def test_errors_are_kept_up_to_64_kilobytes_and_never_block() -> None:
    output = LocalShell().run("head -c 3000000 /dev/zero >&2; echo done")
    assert output.stdout.read() == b"done\n"
    assert output.stderr == bytes(64 << 10)


def test_a_death_by_signal_is_no_status_and_so_no_success() -> None:
    assert LocalShell().run("kill -9 $$").status is None


@pytest.mark.parametrize("command", ["sleep 60", "sleep 60 & sleep 60", "exec >&- 2>&-; sleep 60", "yes"])
def test_at_the_end_of_its_time_the_whole_group_is_killed(command: str) -> None:
    before = set(psutil.Process().children(recursive=True))
    began = time.monotonic()
    with pytest.raises(TimedOut, match="within 1 s"):
        LocalShell().run(command, timeout=0.6)
    assert time.monotonic() - began < 3
    assert set(psutil.Process().children(recursive=True)) == before


def test_a_longer_answer_than_allowed_is_cut_and_not_used() -> None:
    with pytest.raises(AnswerBroken, match="longer than 1000000 bytes"):
        LocalShell().run("yes", limit=1_000_000)


def test_a_job_that_left_the_group_outlives_the_command() -> None:
    pid = int(LocalShell().run("setsid sleep 60 >/dev/null 2>&1 </dev/null & echo $!").stdout.read())
    job = psutil.Process(pid)
    assert job.is_running()
    job.kill()


def test_importing_the_shells_loads_no_ssh_library() -> None:
    code = "import remotejobs.shell, sys; sys.exit(bool({'fabric', 'paramiko', 'invoke'} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_only_the_files_behind_the_shell_know_the_ssh_library() -> None:
    library = Path(__file__).parents[2] / "remotejobs"
    imports = re.compile(r"^\s*(import|from) (fabric|paramiko|invoke)\b", re.MULTILINE)
    users = {path.stem for path in library.rglob("*.py") if imports.search(path.read_text())}
    files = "agent aliases conversation keyboard keyfiles keyquery link logins offers shell transport"
    assert users == set(files.split())


def test_a_fake_shell_answers_in_turn_and_remembers_what_it_was_asked() -> None:
    shell = FakeShell([b"one", answer(b"two", status=5), Unreachable("gone")])
    assert shell.run("first", b"data").stdout.read() == b"one"
    assert shell.run("second", io.BytesIO(b"more")).status == 5
    with pytest.raises(Unreachable):
        shell.run("third")
    with pytest.raises(AssertionError, match="number 4"):
        shell.run("fourth")
    assert shell.commands == ["first", "second", "third", "fourth"]
    assert shell.data == [b"data", b"more", b"", b""]
    assert shell.execs == 4
    assert FakeShell(lambda command, data: data + command.encode()).run("b", b"a").stdout.read() == b"ab"
