"""What a reader has: a string that it stores in the same transaction as the records, and sends along the next time.

Facts never change, so the sorted list of names is the version of the whole; the cursor holds the checksum of that list,
one for each bucket (first hex digit of the key) whose contents arrived whole, and the names of the sealed batches.
Nothing about a reader is kept on the server: a copied or restored database is just a reader with another cursor.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Self

import msgspec

BUCKETS = frozenset("0123456789abcdef")  # the first hex digit of a key
SUM = r"[0-9]{1,20}-[0-9]{1,20}"
NOTHING_LIVE = "0-0"  # the checksum of a list without a name
_SUM = re.compile(SUM + r"\Z", re.ASCII)
_BATCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}\Z", re.ASCII)


def is_sum(text: str) -> bool:
    """Whether it can be the checksum of a list of names."""
    return _SUM.match(text) is not None


def is_batch(text: str) -> bool:
    """Whether it can be the name of a sealed batch."""
    return _BATCH.match(text) is not None


@dataclass(frozen=True, slots=True)
class Cursor:
    total: str = ""
    buckets: dict[str, str] = field(default_factory=dict)
    sealed: tuple[str, ...] = ()
    skipped: int = 0  # of that total: names that are no valid records

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """A cursor that cannot be read is no cursor: everything is asked for, and nothing is missed."""
        try:
            raw = msgspec.json.decode(text or "{}", type=dict[str, msgspec.Raw])
            total = msgspec.json.decode(raw.get("total", msgspec.Raw(b'""')), type=str)
            buckets = msgspec.json.decode(raw.get("buckets", msgspec.Raw(b"{}")), type=dict[str, str])
            sealed = msgspec.json.decode(raw.get("sealed", msgspec.Raw(b"[]")), type=list[str])
            skipped = msgspec.json.decode(raw.get("skipped", msgspec.Raw(b"0")), type=int)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return cls()
        kept = {name: value for name, value in buckets.items() if name in BUCKETS and is_sum(value)}
        batches = dict.fromkeys(name for name in sealed if is_batch(name))
        return cls(total if is_sum(total) else "", kept, tuple(batches), max(skipped, 0))

    def __str__(self) -> str:
        members = {"v": 1, "total": self.total, "buckets": self.buckets, "sealed": list(self.sealed)}
        return msgspec.json.encode({**members, "skipped": self.skipped}).decode()

    def fields(self) -> tuple[str, str, str]:
        """As the request carries it: in the order of a sorted list of files, so that equal ones are seen at a glance."""
        buckets = ",".join(f"{bucket}:{value}" for bucket, value in sorted(self.buckets.items()))
        return self.total or "-", buckets or "-", ",".join(sorted(self.sealed)) or "-"

    def with_bucket(self, bucket: str, value: str) -> Self:
        """`value` "" for a bucket that did not arrive whole: it will be asked for again."""
        buckets = {**self.buckets, bucket: value}
        if not value:
            del buckets[bucket]
        return replace(self, total="", buckets=buckets)

    def with_batch(self, name: str) -> Self:
        return self if name in self.sealed else replace(self, sealed=(*self.sealed, name))

    def with_total(self, value: str, skipped: int) -> Self:
        return replace(self, total=value, skipped=skipped)

    def without(self, places: Collection[str]) -> Self:
        """As if these buckets and batches had not come."""
        if not places:
            return self
        buckets = {name: value for name, value in self.buckets.items() if name not in places}
        sealed = tuple(name for name in self.sealed if name not in places)
        return replace(self, total="", buckets=buckets, sealed=sealed)
