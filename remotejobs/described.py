"""A job as its reader gets it: one dict, with what was asked and what is known."""

from datetime import UTC, datetime
from typing import Any

from remotejobs.records import JobRecord, JobStatus


def described(record: JobRecord, status: JobStatus) -> dict[str, Any]:
    """A record with its status, as check_state gives it."""

    def when(seconds: float | None) -> datetime | None:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

    identity = record.fact("id")
    return {
        "name": "",
        **{name: value for name, value in record.settings.items() if name not in ("header", "job")},
        "jobid": str(record.key),
        "scheduler": identity.get("scheduler") or record.settings.get("scheduler", ""),
        "scheduler_id": identity.get("id", ""),
        "cluster": identity.get("cluster", ""),
        "status": status.state.value,
        "evidence": status.evidence.value,
        "reason": status.reason,
        "raw": status.raw,
        "attempt": status.attempt,
        "settling": status.settling,
        "exit_code": status.exit_code,
        "started": when(status.started),
        "ended": when(status.ended),
        "updated": when(status.updated),
        "cleaned": "cleaned" in record.facts,
    }
