"""What must hold before anything is served or synced. A weak setting stops the start with a sentence."""

import stat
from pathlib import Path

import click
from flask import Flask
from sqlalchemy import make_url

from remoteweb import given_keys, sealing
from remoteweb.config import LOOPBACK, WrongSetting

DEBUG = (
    "Debug mode lets whoever reaches the page run commands here: it is for this machine alone. "
    "Switch it off (unset FLASK_DEBUG), or serve on localhost, without REMOTEWEB_PUBLIC_URL and REMOTEWEB_ALLOWED_HOSTS."
)


def refuse_public_debugging(app: Flask) -> None:
    """At every start, also of `flask run`: before anything listens."""
    if app.debug and (app.config["PUBLIC_URL"] or app.config["ALLOWED_HOSTS"] or _is_run_for_others()):
        raise WrongSetting(DEBUG)


def _is_run_for_others() -> bool:
    command = click.get_current_context(silent=True)
    host = command.params.get("host") if command and command.info_name == "run" else None
    return host is not None and host not in LOOPBACK


def check_worker(app: Flask) -> None:
    check_database(app)
    given_keys.check(app.config["SSH_KEYS"])
    with app.app_context():
        sealing.check()


def check_database(app: Flask) -> None:
    """Names of jobs, scripts and digests of sessions lie in it: nobody but its owner, or its group, may look."""
    url = make_url(app.config["SQLALCHEMY_DATABASE_URI"])
    path = Path(url.database or "")
    if url.drivername == "sqlite" and path.is_file() and path.stat().st_mode & stat.S_IRWXO:
        raise WrongSetting(f"Everybody on this machine can reach the database {path}: chmod o= {path}*")


def check_public(app: Flask) -> None:
    """For pages that come through a reverse proxy, from wherever."""
    if app.debug:
        raise WrongSetting(DEBUG)
    if app.config["KEY_ENCRYPTION_KEY"] is not None:
        raise WrongSetting(
            "REMOTEWEB_KEY_ENCRYPTION_KEY is given to the pages too, so whoever breaks into them could open the keys made for "
            "servers. It is for the sync worker alone: take it out of the settings that both read."
        )
    if not app.config["PUBLIC_URL"]:
        raise WrongSetting(
            "REMOTEWEB_PUBLIC_URL has to say under which address the pages are served, such as https://jobs.example.org: "
            "what asks for another name is refused, and printed links begin with it."
        )
    if not app.config["TRUSTED_PROXIES"]:
        raise WrongSetting(
            "On a socket every request comes through a reverse proxy: REMOTEWEB_TRUSTED_PROXIES has to say how many there "
            "are, mostly 1. Without it nobody's address would be known, and no request would count as https."
        )
    check_database(app)
