"""What the long forms of the tests found: a row for each, in the file that SOAK_FIGURES names (`make soak`)."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Written at once, since a run of hours may be broken off. The figures are the last line that the test printed."""
    name = os.environ.get("SOAK_FIGURES")
    # A worker of pytest-xdist hands its reports on.
    if not name or "PYTEST_XDIST_WORKER" in os.environ or (report.when != "call" and report.passed):
        return
    printed = report.capstdout.strip().rpartition("\n")[2]
    with Path(name).open("a") as file:
        if not file.tell():
            file.write(_head())
        cells = (report.nodeid, report.outcome, f"{report.duration:,.0f} s", printed)
        file.write(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n")


def _head() -> str:
    machine = f"{os.cpu_count()} cores, Linux, Python {platform.python_version()}"
    return (
        f"# The long forms of the tests, from {datetime.now(UTC):%Y-%m-%d} on\n\n"
        f"{machine}; load {os.getloadavg()[0]:.1f} when the first one had ended.\n\n"
        "| test | how it went | took | figures |\n|---|---|---|---|\n"
    )
