"""The settings: what the environment may say as `REMOTEWEB_<NAME>`, and what holds when it says nothing."""

import base64
import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

PREFIX = "REMOTEWEB_"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class WrongSetting(click.ClickException):
    """A click exception: from create_app, only that ends a command with a sentence and no traceback."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    read: Callable[[str], Any]  # raises ValueError with the end of the sentence "... has to be"
    default: Any
    meaning: str


def text(value: str) -> str:
    if not value.strip():
        raise ValueError("some text")
    return value.strip()


def secret(value: str) -> str:
    # Not read as JSON, as Flask's own reader would: a secret of digits would become a number.
    if len(value) < 32:
        raise ValueError("at least 32 characters, for instance from `openssl rand -hex 32`")
    return value


def secrets(value: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    try:
        return tuple(secret(part) for part in found)
    except ValueError:
        raise ValueError("former values of SECRET_KEY, separated by commas") from None


def switch(value: str) -> bool:
    try:
        return {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }[value.strip().lower()]
    except KeyError:
        raise ValueError("on or off") from None


def seconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    # "nan" and "inf" are floats too, and a sync every 0 s would get a person banned.
    if not 1 <= number <= 7 * 86400:
        raise ValueError("a number of seconds from 1 to 604800")
    return number


def days(value: str) -> float:
    if value.strip().lower() == "off":
        return 0.0
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 1 <= number <= 36500:
        raise ValueError("a number of days from 1 to 36500, or off")
    return number


def session_days(value: str) -> float:
    number = days(value)
    if not number:
        raise ValueError("a number of days from 1 to 36500")
    return number


def hosts(value: str) -> frozenset[str]:
    names = frozenset(part.strip().lower() for part in value.split(",") if part.strip())
    if not names or any(set(name) & set("/@ *") for name in names):
        raise ValueError("names separated by commas, such as jobs.example.org,jobs.example.org:8443")
    return names


def public_url(value: str) -> str:
    wanted = "an address without a path, such as https://jobs.example.org (http for this machine alone)"
    try:
        parts = urlsplit(value.strip().rstrip("/"))
        is_local = parts.hostname in LOOPBACK
        _ = parts.port  # raises ValueError when it is none
    except ValueError:
        raise ValueError(wanted) from None
    bare = parts.netloc and not (parts.path or parts.query or parts.fragment or set(parts.netloc) & set("@ "))
    # Cookies and typed passwords go to this address: nobody on the way may read them.
    if not bare or parts.scheme not in (("http", "https") if is_local else ("https",)):
        raise ValueError(wanted)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def few(value: str) -> int:
    if value.strip() not in tuple("0123456789"):
        raise ValueError("a number from 0 to 9")
    return int(value)


def folder(value: str) -> Path:
    if not Path(value).is_absolute():
        raise ValueError("the absolute path of a folder")
    return Path(value)


def file(value: str) -> Path:
    if not Path(value).is_absolute():
        raise ValueError("the absolute path of a file")
    return Path(value)


def keys_of_32_bytes(value: str) -> tuple[bytes, ...]:
    """The one that counts now, and former ones behind it."""
    try:
        keys = tuple(base64.b64decode(part, validate=True) for part in value.replace(",", " ").split())
    except ValueError:  # binascii's own is one
        keys = ()
    if not keys or {len(key) for key in keys} != {32}:
        raise ValueError("32 random bytes in base64, for instance from `openssl rand -base64 32`")
    return keys


def paths(value: str) -> tuple[Path, ...]:
    found = tuple(Path(part) for part in value.split(":") if part)
    if not found or not all(path.is_absolute() for path in found):
        raise ValueError("absolute paths, separated by colons")
    return found


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "SQLALCHEMY_DATABASE_URI",
            text,
            None,
            "Where the database is: `sqlite:////absolute/path` or `postgresql://user@host/name`. "
            "Without it: `remoteweb.sqlite` in the state folder.",
        ),
        Setting(
            "SECRET_KEY",
            secret,
            None,
            "What signs what a browser carries and encrypts the secrets of codes, at least 32 characters. "
            "Without it: made once, and kept as `secret` in the state folder.",
        ),
        Setting(
            "SECRET_KEY_FALLBACKS",
            secrets,
            (),
            "Former values of `REMOTEWEB_SECRET_KEY` (or of the file `secret`), separated by commas: what they signed and "
            "encrypted is still read, and nothing is made with them any more.",
        ),
        Setting("SYNC_NOW", switch, True, "Whether the pages offer the button “Sync now”: `on` or `off`."),
        Setting("LOCAL_INTERVAL", seconds, 10.0, "Seconds between two syncs of this machine."),
        Setting(
            "SERVER_INTERVAL",
            seconds,
            60.0,
            "Seconds between two syncs of a server, when nothing waits for it.",
        ),
        Setting(
            "MIN_INTERVAL",
            seconds,
            10.0,
            "Seconds that lie between two syncs of a server at least, whatever waits.",
        ),
        Setting(
            "CLEAN_DAYS",
            days,
            30.0,
            "Days after which syncs clean up on the server, once 200 jobs have been over for that long: their records go into "
            "batches, their run folders (script, stdout, stderr) to the trash there. `off`: never.",
        ),
        Setting(
            "TRASH_DAYS",
            days,
            0.0,
            "Days that run folders lie in the trash on the server before such a sync removes them. `off`: they stay, until "
            "somebody runs `remotejobs clean`.",
        ),
        Setting(
            "SESSION_IDLE_DAYS",
            session_days,
            14.0,
            "Days after which a browser that did not look is signed out.",
        ),
        Setting(
            "SESSION_DAYS",
            session_days,
            90.0,
            "Days after which a browser is signed out however often it looks. One that a printed link let in on this machine "
            "itself stays for a year.",
        ),
        Setting(
            "REQUIRE_SECOND_FACTOR",
            switch,
            False,
            "Whether a password lets nobody in alone, so that each account has a code beside it, or a passkey in its place: `on` "
            "or `off`.",
        ),
        Setting(
            "AUDIT_TO_LOG",
            switch,
            False,
            "Whether each row of the audit log, with its digest, is also written to the program's log, where who gets hold of "
            "the database cannot change it: `on` or `off`.",
        ),
        Setting(
            "ALLOWED_HOSTS",
            hosts,
            frozenset(),
            "Names, besides localhost, 127.0.0.1 and [::1], under which a browser may ask for the pages, "
            "separated by commas. Each with its port, unless every port will do.",
        ),
        Setting(
            "PUBLIC_URL",
            public_url,
            "",
            "The address under which a reverse proxy serves the pages, such as `https://jobs.example.org`: printed links begin "
            "with it, and its name is one of the allowed hosts.",
        ),
        Setting(
            "TRUSTED_PROXIES",
            few,
            0,
            "How many reverse proxies stand in front, each of which adds to `X-Forwarded-For` and `X-Forwarded-Proto`: exactly "
            "that many entries are believed. On a unix socket at least one.",
        ),
        Setting(
            "SSH_KEYS",
            paths,
            None,
            "The private keys that syncs may use, and no other way in: files, or folders of such files, separated by colons. "
            "Without it: the agent and the keys in `~/.ssh` of whoever runs it.",
        ),
        Setting(
            "KEY_ENCRYPTION_FILE",
            file,
            None,
            "The file with the key under which the keys made for servers lie encrypted in the database, 32 random bytes in "
            "base64: on a VPS a credential, for the sync worker alone. Former ones may stand on lines of their own behind it. "
            "Without it: made when it is first needed, and kept as `key-encryption` in the state folder.",
        ),
        Setting(
            "KEY_ENCRYPTION_KEY",
            keys_of_32_bytes,
            None,
            "The same key itself, in the place of a file; former ones may stand behind it, after commas. The pages, where they "
            "are a process of their own, do not start with it.",
        ),
        Setting(
            "RUNTIME_FOLDER",
            folder,
            None,
            "Where the sync worker listens, on a unix socket, for what is typed on a page: the same folder for the pages and the "
            "worker, writable for the worker and open to their common group alone. Without it: the state folder.",
        ),
    )
}


def table_row(setting: Setting) -> str:
    """The setting's line in docs/settings.md, which a test holds to be there."""
    if isinstance(setting.default, bool):
        without = "`on`" if setting.default else "`off`"
    elif isinstance(setting.default, int):
        without = f"`{setting.default}`"
    else:
        # A number of days that is none is written as `off`.
        number = f"{setting.default:g}" if setting.default else "off"
        without = f"`{number}`" if isinstance(setting.default, float) else ""
    return f"| `{PREFIX}{setting.name}` | {without} | {setting.meaning} |"


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Every setting with its value. A name that is not ours stops the start: it is a mistyped one of ours."""
    values = {setting.name: setting.default for setting in SETTINGS.values()}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX):
            continue
        setting = SETTINGS.get(variable.removeprefix(PREFIX))
        if setting is None:
            raise WrongSetting(f"{variable} is not a setting.{_did_you_mean(variable)}")
        try:
            values[setting.name] = setting.read(environment[variable])
        except ValueError as error:
            # Without the value: it may be a secret, or an address with a password in it.
            raise WrongSetting(f"{variable} has to be {error}.") from None
    return values


def _did_you_mean(variable: str) -> str:
    near = difflib.get_close_matches(variable, [PREFIX + name for name in SETTINGS], n=1)
    return f" Did you mean {near[0]}?" if near else " docs/settings.md lists them all."
