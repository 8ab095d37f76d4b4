"""The pages alone, on a unix socket behind a reverse proxy: a process that needs no key and no network."""

import contextlib
import os
import socket
import stat
from pathlib import Path

import click
from flask import Flask

from remoteweb import secret, starting
from remoteweb.access import people
from remoteweb.config import WrongSetting
from remoteweb.database import db, shown
from remoteweb.page_server import BACKLOG, PageServer
from remoteweb.upgrade import upgrade_database
from remoteweb.version import __version__

FIRST_OF_SYSTEMD = 3  # sd_listen_fds(3)


def serve_web(app: Flask, path: Path | None) -> None:
    """Bring the database up to date, then answer on the socket at `path`, or on the one of systemd, until a signal."""
    starting.check_public(app)
    secret.settle(app)
    upgrade_database(app)
    with app.app_context():
        place = f"Database  {shown(db.engine.url)}\nServes    {app.config['PUBLIC_URL']}"
        if not people.can_anybody_sign_in():
            # No weakness: without an account nobody is let in.
            place += "\nNobody can sign in yet: `remoteweb create-user NAME` makes an account."
        db.engine.dispose()  # no connection may be shared across the fork

    def begin(first: bool) -> None:
        if first:
            click.echo(f"remoteweb {__version__}\n{place}")

    PageServer(app, _sockets(path), begin).run()


def _sockets(path: Path | None) -> list[socket.socket]:
    """None for the one that systemd hands over: gunicorn takes it itself, and does not remove it at its end."""
    if path is not None:
        return [_bound(path)]
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise WrongSetting(
            "It listens on a unix socket: --socket has to name one, or systemd has to hand one over."
        )
    with socket.socket(fileno=os.dup(FIRST_OF_SYSTEMD)) as handed:
        if handed.family != socket.AF_UNIX:
            raise WrongSetting(
                "systemd has to hand over a unix socket: whoever connects is taken for the reverse proxy."
            )
    return []


def _bound(path: Path) -> socket.socket:
    """For its owner and its group. What another process left there is removed; what it still serves is not."""
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_abandoned(path)
        one.bind(str(path))
        path.chmod(0o660)  # nobody can connect before it listens
        one.listen(BACKLOG)
    except OSError as error:
        one.close()
        raise WrongSetting(f"The socket {path} cannot be served: {error.strerror or error}.") from None
    return one


def _remove_abandoned(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
