"""That the look for secrets can find one."""

import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
FILE = """
import logging, subprocess, types
from known_secrets import known
SECRET = known("a planted secret of four words")

def test_nothing_is_planted(tmp_path):
    made_by("another.module")

def test_in_the_log():
    logging.getLogger("x").warning("with %s", SECRET)

def test_in_what_is_printed():
    print(SECRET)

def test_in_a_database(tmp_path):
    (tmp_path / "a.sqlite").write_bytes(b".." + SECRET.encode())

def test_in_the_log_of_a_server(tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "err").write_text(SECRET)

def test_a_token_in_a_database(tmp_path):
    (tmp_path / "a.sqlite-wal").write_text(made_by("remoteweb.access.entry"))

def test_in_the_list_of_processes():
    subprocess.run(["sh", "-c", "sleep 3; :", SECRET])

def made_by(module):
    maker = types.ModuleType(module)
    exec("import secrets; token = secrets.token_urlsafe(32)", maker.__dict__)
    return maker.token
"""


def test_a_planted_secret_is_found(tmp_path: Path) -> None:
    file = tmp_path / "test_planted.py"
    file.write_text(FILE)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-c", os.devnull, "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [
            *command,
            "-p",
            "known_secrets",
            "-p",
            "no:cacheprovider",
            f"--basetemp={tmp_path / 't'}",
            str(file),
        ],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    planted = set(re.findall(r"def (test_\w+)", FILE)) - {"test_nothing_is_planted"}
    assert set(re.findall(r"^ERROR \S+::(\w+)", done.stdout, re.M)) == planted, done.stdout
