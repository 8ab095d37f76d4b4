"""The key that signs sessions: made once, kept in the state folder, readable by its owner alone."""

import secrets
from pathlib import Path
from typing import Any

from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from remoteweb.config import WrongSetting
from remoteweb.paths import state_folder
from remoteweb.private_files import make_once


class KeyOnDemand(SecureCookieSessionInterface):
    """Reads the key when the first request comes: a sync worker and most commands sign nothing, and may run as a user who
    cannot read it.
    """

    def get_signing_serializer(self, app: Flask) -> Any:
        settle(app)
        return super().get_signing_serializer(app)


def settle(app: Flask) -> str:
    """The app's key, in its settings from here on. What is going to answer calls this at its start: a weak one stops it."""
    if not app.config["SECRET_KEY"]:
        app.config["SECRET_KEY"] = secret_key(state_folder())
    return str(app.config["SECRET_KEY"])


def keys(app: Flask) -> list[str]:
    """For a signer: the former ones, which only read, and at the end the one that signs."""
    return [*app.config["SECRET_KEY_FALLBACKS"], settle(app)]


def secret_key(folder: Path) -> str:
    """The key in `folder`, made if there is none. Of several starts at once, all get the same one."""
    path = folder / "secret"
    if not path.exists():
        make_once(path, secrets.token_hex(32))
    try:
        key = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise WrongSetting(f"{path}, which signs the sessions, cannot be read: {error.strerror}.") from None
    if path.stat().st_mode & 0o077:
        raise WrongSetting(f"Others can read {path}. Delete it: a new one is made at the next start.")
    if len(key) < 32:
        raise WrongSetting(f"{path} holds no usable key. Delete it: a new one is made at the next start.")
    return key
