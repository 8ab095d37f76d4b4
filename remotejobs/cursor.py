"""What a reader has: a string that it stores in the same transaction as the records, and sends along the next time.

Facts never change, so the sorted list of names is the version of the whole; the cursor holds the checksum of that list,
one for each bucket (first hex digit of the key) whose contents arrived whole, and the names of the sealed batches.
Nothing about a reader is kept on the server: a copied or restored database is just a reader with another cursor.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Self

import msgspec

_SUM = re.compile(r"[0-9]{1,20}-[0-9]{1,20}\Z", re.ASCII)
_BATCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    total: str = ""
    buckets: dict[str, str] = field(default_factory=dict)
    sealed: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """A cursor that cannot be read is no cursor: everything is asked for, and nothing is missed."""
        try:
            raw = msgspec.json.decode(text or "{}", type=dict[str, msgspec.Raw])
            total = msgspec.json.decode(raw.get("total", msgspec.Raw(b'""')), type=str)
            buckets = msgspec.json.decode(raw.get("buckets", msgspec.Raw(b"{}")), type=dict[str, str])
            sealed = msgspec.json.decode(raw.get("sealed", msgspec.Raw(b"[]")), type=list[str])
        except (msgspec.MsgspecError, UnicodeError):
            return cls()
        kept = {
            bucket: value
            for bucket, value in buckets.items()
            if bucket in "0123456789abcdef" and _SUM.match(value)
        }
        return cls(
            total if _SUM.match(total) else "", kept, tuple(name for name in sealed if _BATCH.match(name))
        )

    def __str__(self) -> str:
        return msgspec.json.encode(
            {"v": 1, "total": self.total, "buckets": self.buckets, "sealed": list(self.sealed)}
        ).decode()

    def fields(self) -> tuple[str, str, str]:
        """As the request carries it."""
        buckets = ",".join(f"{bucket}:{value}" for bucket, value in sorted(self.buckets.items()))
        return self.total or "-", buckets or "-", ",".join(self.sealed) or "-"

    def with_bucket(self, bucket: str, value: str) -> Self:
        """`value` "" for a bucket that did not arrive whole: it will be asked for again."""
        buckets = {**self.buckets, bucket: value}
        if not value:
            del buckets[bucket]
        return replace(self, total="", buckets=buckets)

    def with_batch(self, name: str) -> Self:
        return replace(self, sealed=(*self.sealed, name))

    def with_total(self, value: str) -> Self:
        return replace(self, total=value)
