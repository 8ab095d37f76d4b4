"""What came from a server, made fit for a table, a page and a terminal."""

import math
import re
from typing import Any

import msgspec

from remotejobs import foreign

_NEVER_STORED = re.compile(r"[\x00\ud800-\udfff]")
_LAST_TIME = 253402300799.0  # the year 9999: what a page can show


def line(value: object, limit: int = 200) -> str:
    """One line of text for a person, at most `limit` characters long; nothing is an empty one."""
    return "" if value is None else foreign.line(value, limit)


def moment(value: object) -> float | None:
    """A time in seconds since 1970, or None when it cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value <= _LAST_TIME else None


def whole(value: object, low: int = -(2**31), high: int = 2**31 - 1) -> int | None:
    """An integer that every database can hold, or None."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if low <= value <= high else None


def document(value: dict[str, Any]) -> str:
    """JSON text that every database takes: PostgreSQL refuses NUL, no encoder takes a lone surrogate."""
    try:
        text = msgspec.json.encode(value)
        if b"\\u0000" not in text:
            return text.decode()
    except UnicodeEncodeError:
        pass
    return msgspec.json.encode(_storable(value)).decode()


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _NEVER_STORED.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_storable(str(name)): _storable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(inner) for inner in value]
    return value
