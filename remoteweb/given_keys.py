"""The private keys that syncs were given, where those are the only ones that they may use."""

from collections.abc import Sequence
from pathlib import Path

from remoteweb.config import PREFIX, WrongSetting
from remoteweb.private_files import is_exposed

NAME = f"{PREFIX}SSH_KEYS"
FIRST_LINE = 100


def given_keys(places: Sequence[Path] | None) -> list[Path] | None:
    """The files at `places`, and the private keys in the folders among them; None when no places are named.

    Asked anew for each login: a key that is put into the folder counts from then on.
    """
    if places is None:
        return None
    found: list[Path] = []
    for place in places:
        found += sorted(filter(_is_private_key, place.iterdir())) if place.is_dir() else [place]
    return found


def check(places: Sequence[Path] | None) -> None:
    """At the start of a worker. Raises WrongSetting when a place is not there, or a key lies open to others."""
    try:
        for key in given_keys(places) or ():
            _check(key)
    except OSError as error:
        raise WrongSetting(f"{NAME} names {error.filename}: {error.strerror}.") from None


def _check(key: Path) -> None:
    with key.open("rb"):
        pass
    if is_exposed(key):
        raise WrongSetting(
            f"Others can read the private key {key}. Nobody but its owner may: chmod 600 {key}."
        )


def _is_private_key(path: Path) -> bool:
    """Certificates, public halves and other credentials lie beside them."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        line = file.readline(FIRST_LINE)
    return line.startswith(b"-----BEGIN ") and b"PRIVATE KEY-----" in line
