"""Where a connection ends and by which hops it gets there: what an alias or a typed server came to."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from remotejobs.destination import Destination
from remotejobs.errors import BadInput
from remotejobs.hostkeys import host_key_name

MAX_JUMPS = 8


@dataclass(frozen=True, slots=True)
class Target:
    """One server: where it is, who logs in there with which keys, and the jumps before it, the first one first.

    `certificate_files` are OpenSSH user certificates beside those that are found as KEY-cert.pub. `only_these_keys`
    (IdentitiesOnly): other keys of the agent are not offered. `key_name`: the name under which its host key is kept.
    A jump has no jumps of its own. `as_dict` and `from_dict` carry it through JSON.
    """

    host: str
    port: int
    user: str
    key_files: tuple[Path, ...] = ()
    certificate_files: tuple[Path, ...] = ()
    only_these_keys: bool = False
    key_name: str = ""
    jumps: tuple["Target", ...] = ()

    def __post_init__(self) -> None:
        if not self.key_name:
            object.__setattr__(self, "key_name", host_key_name(self.host, self.port))
        flat = tuple(hop for jump in self.jumps for hop in (*jump.jumps, replace(jump, jumps=())))
        if len(flat) > MAX_JUMPS:
            raise BadInput(f"More than {MAX_JUMPS} jumps before {self.host} are not made.")
        object.__setattr__(self, "jumps", flat)

    @property
    def hops(self) -> tuple["Target", ...]:
        """Every server of the way in the order of the connections, this one last, each with the jumps before it."""
        return (*(replace(jump, jumps=self.jumps[:at]) for at, jump in enumerate(self.jumps)), self)

    @property
    def label(self) -> str:
        """As a person knows it: "alps", "alps:2222"."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 22 else f"{host}:{self.port}"

    @property
    def ssh(self) -> str:
        """The command by which OpenSSH's client goes the same way."""
        jumps = ",".join(f"{jump.user}@{jump.label}" for jump in self.jumps)
        words = [
            "ssh",
            *(["-J", jumps] if jumps else []),
            *(["-p", str(self.port)] if self.port != 22 else []),
        ]
        return " ".join([*words, f"{self.user}@{self.host}"])

    def as_dict(self) -> dict[str, Any]:
        """Of strings, numbers and lists alone: what is at its default is left out."""
        told: dict[str, Any] = {"host": self.host, "port": self.port, "user": self.user}
        for name in ("key_files", "certificate_files"):
            if paths := getattr(self, name):
                told[name] = [str(path) for path in paths]
        if self.only_these_keys:
            told["only_these_keys"] = True
        if self.key_name != host_key_name(self.host, self.port):
            told["key_name"] = self.key_name
        if self.jumps:
            told["jumps"] = [jump.as_dict() for jump in self.jumps]
        return told

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Target":
        """Raises BadInput for anything that `as_dict` does not give."""
        try:
            where = Destination(told["host"], told["port"], told["user"])
            return cls(
                where.host,
                where.port,
                where.user or "",
                _paths(told.get("key_files", [])),
                _paths(told.get("certificate_files", [])),
                bool(told.get("only_these_keys", False)),
                str(told.get("key_name", "")),
                tuple(cls.from_dict(jump) for jump in told.get("jumps", ())),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadInput(f"This is no description of a way to a server: {error!r}.") from None


def _paths(told: Any) -> tuple[Path, ...]:
    if not isinstance(told, list):
        raise TypeError("no list of paths")
    return tuple(Path(path) for path in told)
