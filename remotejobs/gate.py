"""The gate of a narrow key: the probe as a file on the server, which such a key runs whatever it asks for.

Installed over an ordinary login, in one connection: what the account is like is looked at, the gate is put there and read back,
and, where a person wants it, its line is added to ~/.ssh/authorized_keys.
"""

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from remotejobs import authorized, sentences
from remotejobs.authorized import PublicKey
from remotejobs.errors import AnswerBroken, ServerProblem
from remotejobs.program import PROTOCOL, narrow, packed
from remotejobs.shell import Shell

FOLDER = ".remotejobs-gate"
# Where it lies, for a line that is written before anybody has looked there: the login shell puts the home in.
USUAL_PATH = f"~/{FOLDER}/{PROTOCOL}/gate"
_HERE = Path(__file__).resolve().parent / "gate"
_PATH = re.compile(r"/[A-Za-z0-9/._@+,:=~-]{1,1000}\Z", re.ASCII)
_SETTINGS = {
    "PATH": re.compile(r"[A-Za-z0-9/._@+,:=~-]{1,8000}\Z", re.ASCII),
    "SLURM_CONF": _PATH,
    "LANG": re.compile(r"[A-Za-z0-9._@-]{1,40}\Z", re.ASCII),
    "LC_ALL": re.compile(r"[A-Za-z0-9._@-]{1,40}\Z", re.ASCII),
    "TZ": re.compile(r"[A-Za-z0-9/_:+,.-]{1,80}\Z", re.ASCII),
}
# What a client may set by default on common systems; the gate starts without them. Others can make a login shell run something
# before any forced command.
_HARMLESS = re.compile(
    r"(LANG|LANGUAGE|LC_[A-Z*?_]+|XMODIFIERS|TERM|COLORTERM|NO_COLOR|TZ|GIT_[A-Z*_]+)\Z", re.ASCII
)
_ANSWER_LIMIT = 4 << 20  # bytes
_SENTENCES = {
    "not-stored": "{what} could not be stored on {server}: is the disk or the quota full, or may that folder not be written to?",
    "link": "~/" + FOLDER + " on {server} is a link, and is left alone: a gate lies in a folder of its own.",
    "changed": "~/.ssh/authorized_keys on {server} was changed by somebody else at this moment. It was left as it is: try again.",
}


@cache
def build() -> str:
    """Which gate this version installs: its protocol, and what tells its program from others."""
    return f"{PROTOCOL}-{hashlib.sha256(narrow().encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Account:
    """What was found on the server. `keys` is its authorized_keys as it is, None where there is none."""

    home: str
    environment: dict[str, str]
    env: str
    timeout: str
    keys: bytes | None
    accepts: str = ""  # the words of sshd's AcceptEnv, as far as they could be read

    @property
    def doubts(self) -> list[str]:
        """What a client may set there that may open what the gate closes."""
        return sorted({word for word in self.accepts.split() if not _HARMLESS.match(word)})

    @property
    def path(self) -> str:
        return f"{self.home}/{FOLDER}/{PROTOCOL}/gate"


@dataclass(slots=True)
class Installed:
    """A gate that lies on the server, read back, and the line for a key. `open_at`: where that key already stands otherwise."""

    account: Account
    line: str
    key: PublicKey
    open_at: list[int] = field(default_factory=list)

    @property
    def has_line(self) -> bool:
        return self.account.keys is not None and self.line.encode() in self.account.keys.splitlines()


def install(shell: Shell, key: PublicKey, addresses: tuple[str, ...] = ()) -> Installed:
    """Puts the gate there, or renews it. Raises ServerProblem, BadInput and what a Shell raises."""
    account = look(shell)
    content = text(account).encode()
    head = f"{PROTOCOL} {hashlib.sha256(content).hexdigest()}\n".encode()
    _done(_ask(shell, "place", b" " + head + content), "placed", "The gate", shell)
    line = authorized.line(key, account.path, addresses)
    return Installed(account, line, key, authorized.open_at(account.keys or b"", key))


def write(shell: Shell, installed: Installed) -> None:
    """Adds the line, in the place of an earlier one of ours for that key. Raises ServerProblem where the key is open anyway."""
    if installed.open_at:
        raise ServerProblem(authorized.OPEN.format(server=shell, line=installed.open_at[0]))
    _replace(
        shell,
        installed.account,
        authorized.with_line(installed.account.keys or b"", installed.line, installed.key),
    )


def remove(shell: Shell, key: PublicKey | None = None) -> tuple[int, bool]:
    """Takes the lines of ours away (that of `key` alone, if one is named), then, if none is left, the gate: how many lines, and
    whether the gate went.
    """
    account = look(shell)
    rest, count = authorized.without_lines(account.keys or b"", key)
    if count:
        _replace(shell, account, rest)
    if authorized.without_lines(rest, None)[1]:
        return count, False
    said = _ask(shell, "remove", b"\n")
    if said.get("none") is not None:
        return count, False
    _done(said, "removed", "The change", shell)
    return count, True


def look(shell: Shell) -> Account:
    said = _ask(shell, "look", b"\n")
    values = {name: _decoded(value) for name, value in said.items()}
    if "bye" not in said:
        raise AnswerBroken(f"The answer of {shell} was cut. Nothing was changed; try again.")
    texts = {name: value.decode("utf-8", "replace") for name, value in values.items() if name != "keys"}
    home = texts.get("home", "").rstrip("/")
    for what, path in (
        ("home directory", home),
        ("`env`", texts.get("env", "")),
        ("`timeout`", texts.get("timeout", "")),
    ):
        if not _PATH.match(path):
            raise ServerProblem(
                f"The account on {shell} has no {what} with a plain path, without spaces and special characters, which a gate "
                "needs. Nothing was changed."
            )
    if "odd" in said or len(values.get("keys", b"")) > 1 << 20:
        raise ServerProblem(
            f"~/.ssh/authorized_keys on {shell} is no plain file of a usual size. Nothing was changed."
        )
    known = {name: texts.get(name, "") for name in _SETTINGS}
    environment = {name: value for name, value in known.items() if _SETTINGS[name].match(value)}
    environment.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    return Account(
        home, environment, texts["env"], texts["timeout"], values.get("keys"), texts.get("accepts", "")
    )


def text(account: Account) -> str:
    """The gate of this account: what may not vary is fixed here and now, and never taken from a client."""
    settings = " ".join(f"{name}='{value}'" for name, value in account.environment.items())
    head = (_HERE / "head.sh").read_text()
    for name, value in (
        ("PATH", account.path),
        ("ENV", account.env),
        ("TIMEOUT", account.timeout),
        ("GATE", build()),
        ("SETTINGS", settings),
    ):
        head = head.replace(f"@{name}@", value)
    return head + narrow()


def _replace(shell: Shell, account: Account, content: bytes) -> None:
    old = "-" if account.keys is None else hashlib.sha256(account.keys).hexdigest()
    head = f" {old} {hashlib.sha256(content).hexdigest()}\n".encode()
    _done(_ask(shell, "keys", head + content), "stored", "~/.ssh/authorized_keys", shell)


def _ask(shell: Shell, name: str, data: bytes) -> dict[str, str]:
    """Runs one of the small fixed programs of `gate/`; its lines that begin with this request's word, by the next word."""
    word = secrets.token_hex(8)
    with shell.run(_command(name), word.encode() + data, timeout=60, limit=_ANSWER_LIMIT) as output:
        lines = [line.split(b" ", 2) for line in output.stdout.read().splitlines()]
        if (
            any(line[:2] == [b"remotejobs", b"gate"] for line in lines)
            or b"remotejobs gate " in output.stderr
        ):
            raise ServerProblem(sentences.narrow(shell))
    ours = [line for line in lines if line[0] == word.encode() and len(line) > 1]
    if not ours:
        raise AnswerBroken(f"{shell} did not run our program. Does its login shell start /bin/sh?")
    return {
        line[1].decode("ascii", "replace"): b"".join(line[2:]).decode("ascii", "replace") for line in ours
    }


def _done(said: dict[str, str], wanted: str, what: str, shell: Shell) -> None:
    if wanted not in said:
        code = next((code for code in said if code in _SENTENCES), "not-stored")
        raise ServerProblem(_SENTENCES[code].format(what=what, server=shell))


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return b""


@cache
def _command(name: str) -> str:
    return packed((_HERE / f"{name}.sh").read_text())
