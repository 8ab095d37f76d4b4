"""Which members of a job a sink keeps, under which names, and as what. Values from a server are hostile: each is made to fit."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from remotejobs.errors import BadInput

# What check_state gives, by what it is: text, whole (number), flag, time (UTC), json.
FIELDS = {
    **dict.fromkeys(("jobid", "name", "status", "evidence", "reason", "raw"), "text"),
    **dict.fromkeys(("scheduler", "scheduler_id", "cluster"), "text"),
    **dict.fromkeys(("attempt", "exit_code"), "whole"),
    **dict.fromkeys(("settling", "cleaned"), "flag"),
    **dict.fromkeys(("started", "ended", "updated"), "time"),
    **dict.fromkeys(
        ("command", "before", "after", "local_path", "remote_path", "shell", "script", "again_of"), "text"
    ),
    **dict.fromkeys(("arguments", "environment", "options"), "json"),
}
KEY = "jobid"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z", re.ASCII)


def checked(mapping: Mapping[str, str] | None) -> dict[str, str]:
    """Field to column, all of them without a mapping. Raises BadInput for a field that no job has, or without the jobid."""
    if mapping is None:
        return {field: field for field in FIELDS}
    unknown = set(mapping) - set(FIELDS)
    if unknown:
        raise BadInput(f"A job has no field {sorted(unknown)[0]!r}. Its fields are: {', '.join(FIELDS)}.")
    if KEY not in mapping:
        raise BadInput(f"The mapping lacks {KEY!r}: by it a row is found again.")
    if len(set(mapping.values())) < len(mapping):
        raise BadInput("The mapping names a column twice.")
    return dict(mapping)


def identifier(name: str) -> str:
    """The name of a table or column, quoted. Raises BadInput for what is none."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise BadInput(
            f"{name!r} cannot be the name of a table or column here: use up to 63 letters, digits and underscores, "
            "beginning with a letter."
        )
    return f'"{name}"'


def row(record: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """Column to value: str, int, bool, datetime or, of a json field, whatever JSON has. None where there is nothing."""
    return {column: _AS[FIELDS[field]](record.get(field)) for field, column in mapping.items()}


def as_json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) or value is None else as_json(value)


def _only(kind: type) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, kind) else None


_AS: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "whole": _only(int),
    "flag": bool,
    "time": _only(datetime),
    "json": lambda value: value,
}
