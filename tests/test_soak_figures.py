"""`make soak` keeps what it found, also of a run that is broken off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LONG = """
import os, pytest

def test_a_thousand():
    print("500 of them")
    print("1,000 of them | all settled")

def test_that_fails():
    print("3 of them")
    assert False

@pytest.mark.skip("no FUSE")
def test_of_a_part_that_is_not_here(): ...

def test_in_which_the_machine_is_switched_off():
    os._exit(9)
"""


@pytest.mark.parametrize("at_once", [[], ["-n", "1", "--max-worker-restart", "0"]], ids=["alone", "workers"])
def test_each_long_test_has_a_row_with_its_figures_as_soon_as_it_has_ended(
    tmp_path: Path, at_once: list[str]
) -> None:
    (tmp_path / "test_long.py").write_text(LONG)
    kept = tmp_path / "soak.md"
    env = {
        **os.environ,
        "SOAK_FIGURES": str(kept),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    env.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "soak_figures", "-p", "no:cacheprovider", *at_once]
    for _twice in range(2):
        subprocess.run([*command, "test_long.py"], cwd=tmp_path, env=env, check=False, capture_output=True)
    rows = [line.split(" | ") for line in kept.read_text().splitlines() if line.startswith("| test_long")]
    told = [(row[0].rpartition("::")[2], row[1], row[3].removesuffix(" |")) for row in rows]
    assert [one for one in told if "switched_off" not in one[0]] == 2 * [
        ("test_a_thousand", "passed", "1,000 of them / all settled"),
        ("test_that_fails", "failed", "3 of them"),
        ("test_of_a_part_that_is_not_here", "skipped", ""),
    ]
    assert kept.read_text().count("# The long forms") == 1
