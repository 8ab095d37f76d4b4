"""What a page costs on the wire, before anything was seen."""

import gzip
from pathlib import Path

import pytest

pytestmark = pytest.mark.sqlite

STATIC = Path(__file__).resolve().parents[2] / "static"


@pytest.mark.parametrize(("name", "most"), [("app.css", 4096), ("app.js", 2048)])
def test_our_own_files_stay_small(name: str, most: int) -> None:
    assert len(gzip.compress((STATIC / name).read_bytes(), 9)) <= most
