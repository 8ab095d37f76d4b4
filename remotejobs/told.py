"""The cursor of `changes`: what its reader has been told. It is kept by the reader, beside the records that it speaks of.

Beside the cursor of names (cursor.py) it has, for each live record, a short digest of what was told of it, so that a bucket
that is sent again tells only what is new in it; and the status last told of the jobs whose facts alone do not tell it (a
queue said that it runs), so that a queue that does not answer takes nothing back.
"""

import base64
import hashlib
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import msgspec

from remotejobs.cursor import Cursor
from remotejobs.errors import BadInput
from remotejobs.records import JobKey, JobStatus

VERSION = 1
_KEY, _WORD = 4, 12  # bytes: of a key's digest; with the weight (1) and the digest of what was told (7)
# Not shown by `described`, so no database has it.
_UNTOLD = {"nodes": "", "partition": "", "limit": None, "expected_start": None}
_DEFAULTS = {name: f.default for name, f in JobStatus.__dataclass_fields__.items()}


class _Text(msgspec.Struct):
    v: int
    app: str
    names: msgspec.Raw = msgspec.Raw(b"{}")
    told: msgspec.Raw = msgspec.Raw(b"{}")
    last: msgspec.Raw = msgspec.Raw(b"{}")


@dataclass(slots=True)
class _Bucket:
    """What was told of the live records of one bucket: kept packed, since most buckets are not looked at."""

    packed: str = ""  # base64
    words: dict[bytes, bytes] | None = None
    last: dict[JobKey, JobStatus] = field(default_factory=dict)
    # What was told of records that are not live any more: they may come in a batch of the same answer.
    left_words: dict[bytes, bytes] = field(default_factory=dict)
    left_last: dict[JobKey, JobStatus] = field(default_factory=dict)

    def opened(self) -> dict[bytes, bytes]:
        if self.words is None:
            raw = base64.b64decode(self.packed)
            pieces = (raw[at : at + _WORD] for at in range(0, len(raw), _WORD))
            self.words = {piece[:_KEY]: piece[_KEY:] for piece in pieces}
        return self.words

    def text(self) -> str:
        if self.words is not None:
            raw = b"".join(key + word for key, word in sorted(self.words.items()))
            self.packed = base64.b64encode(raw).decode()
        return self.packed

    def keep(self, seen: set[bytes], in_it: set[JobKey]) -> None:
        """Its records have all come: only these are in it."""
        words, last = self.opened(), self.last
        self.left_words |= {key: word for key, word in words.items() if key not in seen}
        self.left_last |= {key: status for key, status in last.items() if key not in in_it}
        self.words = {key: word for key, word in words.items() if key in seen}
        self.last = {key: status for key, status in last.items() if key in in_it}
        self.packed, self.words = self.text(), None


@dataclass(slots=True)
class Told:
    app: str
    names: Cursor = field(default_factory=Cursor)
    buckets: dict[str, _Bucket] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None, app: str) -> Self:
        """None: nothing was told. A cursor of another version of this library is taken for that; others are BadInput."""
        if text is None:
            return cls(app)
        try:
            read = msgspec.json.decode(text, type=_Text)
            if read.app == app and read.v != VERSION:
                return cls(app)
            told = msgspec.json.decode(read.told, type=dict[str, str])
            last = msgspec.json.decode(read.last, type=dict[str, JobStatus])
            parsed = cls(read.app, Cursor.parse(bytes(read.names).decode()))
            for bucket, packed in told.items():
                if len(base64.b64decode(packed, validate=True)) % _WORD:
                    raise ValueError("cut")
                parsed.buckets[bucket] = _Bucket(packed)
            for name, status in last.items():
                key = JobKey.parse(name)
                parsed._of(key).last[key] = status
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise BadInput(
                "This is no cursor of `changes`, or was cut: store it as it is, in a text column without a limit. "
                "Without a cursor (None) everything is told again, and nothing is missed."
            ) from error
        if parsed.app != app:
            raise BadInput(
                f"This cursor belongs to the app {parsed.app!r}, not to {app!r}: keep one for each app of a server."
            )
        return parsed

    def text(self, names: Cursor) -> str:
        """The cursor of a reader that has stored all that was told so far; `names`: what of it has arrived whole."""
        last = {str(key): status for bucket in self.buckets.values() for key, status in bucket.last.items()}
        members = {
            "v": VERSION,
            "app": self.app,
            "names": msgspec.Raw(str(names).encode()),
            "told": {name: text for name, bucket in sorted(self.buckets.items()) if (text := bucket.text())},
            "last": {key: _short(status) for key, status in sorted(last.items())},
        }
        return msgspec.json.encode(members).decode()

    def _of(self, key: JobKey) -> _Bucket:
        return self.buckets.setdefault(key.hash[0], _Bucket())

    def _word(self, key: JobKey) -> bytes | None:
        bucket, digest = self._of(key), _digest(key)
        return bucket.opened().get(digest) or bucket.left_words.get(digest)

    def weight(self, key: JobKey) -> int | None:
        """How much was told of it (states.weight); None: nothing that is remembered."""
        word = self._word(key)
        return None if word is None else word[0]

    def has(self, key: JobKey, content: bytes) -> bool:
        word = self._word(key)
        return word is not None and word[1:] == content

    def last(self, key: JobKey) -> JobStatus | None:
        bucket = self._of(key)
        return bucket.last.get(key) or bucket.left_last.get(key)

    def tell(self, key: JobKey, weight: int, content: bytes, last: JobStatus | None) -> None:
        bucket = self._of(key)
        bucket.opened()[_digest(key)] = bytes([weight]) + content
        if last is None:
            bucket.last.pop(key, None)
        else:
            bucket.last[key] = replace(last, **_UNTOLD)  # type: ignore[arg-type]

    def keep(self, bucket: str, keys: set[JobKey]) -> None:
        """All live records of this bucket have come; what was told of others is forgotten."""
        if bucket in self.buckets:
            self.buckets[bucket].keep({_digest(key) for key in keys}, keys)


def content_of(state: dict[str, Any]) -> bytes:
    """A digest of all that is told of a job."""
    return hashlib.blake2b(msgspec.json.encode(state, order="sorted"), digest_size=_WORD - _KEY - 1).digest()


def _digest(key: JobKey) -> bytes:
    return hashlib.blake2b(str(key).encode(), digest_size=_KEY).digest()


def _short(status: JobStatus) -> dict[str, Any]:
    return {name: value for name, value in asdict(status).items() if value != _DEFAULTS[name]}
