"""The passwords, passphrases and tokens that the tests use: what was captured or left behind of a test must not hold one.

Looked at: captured output and logs of each test, the databases and logs in its folder (of served processes, too), and what
`ps` shows while tests run.
"""

import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

KNOWN: set[str] = set()  # for as long as the tests run
_tokens: set[str] = set()  # of this test
_in_ps: list[str] = []
# Whose random words let somebody in. (An account's handle is random as well, and no secret.)
MAKERS = ("remoteweb.access.sessions", "remoteweb.access.entry")
_real_token = secrets.token_urlsafe


def known(secret: str) -> str:
    """Notes it, and gives it back."""
    KNOWN.add(secret)
    return secret


def _noted_token(nbytes: int | None = None) -> str:
    token = _real_token(nbytes)
    if sys._getframe(1).f_globals.get("__name__") in MAKERS:
        _tokens.add(token)
    return token


secrets.token_urlsafe = _noted_token


def found_in(content: bytes, among: set[str]) -> list[str]:
    # A copy: the thread that looks at the processes asks while a test notes the next one.
    return sorted(secret for secret in among.copy() if secret.encode() in content)


@pytest.fixture(autouse=True)
def nothing_secret_is_left(tmp_path: Path) -> Iterator[None]:
    _tokens.clear()
    yield
    # A printed link is for whoever started the program: tokens of it may stand in its output, and nowhere else.
    for path in filter(Path.is_file, _looked_at(tmp_path)):
        is_output = path.name == "out"
        found = found_in(path.read_bytes(), KNOWN if is_output else KNOWN | _tokens)
        assert found == [], f"{path} holds a secret"
    seen = [_in_ps.pop() for _ in list(_in_ps)]
    assert seen == [], "the list of processes shows a secret"


def _looked_at(folder: Path) -> Iterator[Path]:
    """Databases, logs, and what served processes print."""
    for where, _, names in os.walk(folder):
        for name in names:
            if name in ("out", "err") or name.endswith(".log") or ".sqlite" in name:
                yield Path(where, name)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    said = "\n".join(content for _, content in report.sections)
    if report.when == "teardown" and report.passed and (found := found_in(said.encode(), KNOWN | _tokens)):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: its output or its log holds a secret: {found}"


def open_files() -> int:
    """Of this process: without what is open for a moment to see the list of processes, here or in another thread."""
    count = 0
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += not os.readlink(path).startswith("/proc")
    return count


def _watch_processes() -> None:
    while True:
        lines = list(_command_lines())
        # All at once: this goes on as long as the tests, and to look for each secret in each line was a thirtieth of it.
        if found_in(b"\n".join(lines), KNOWN):
            _in_ps.extend(line.decode(errors="replace") for line in lines if found_in(line, KNOWN))
        time.sleep(0.5)


def _command_lines() -> Iterator[bytes]:
    for number in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{number}/cmdline", "rb") as file:
            yield file.read()


def pytest_sessionstart() -> None:
    threading.Thread(target=_watch_processes, name="ps", daemon=True).start()
