"""Serving the pages on this machine, with the sync worker beside them: what `remoteweb serve` runs."""

import contextlib
import errno
import socket

import click
from flask import Flask

from remoteweb import access, secret, serving, starting
from remoteweb.database import db, shown
from remoteweb.page_server import BACKLOG, PageServer
from remoteweb.upgrade import upgrade_database
from remoteweb.version import __version__


class CannotListen(click.ClickException):
    """Nothing was started."""


def serve(app: Flask, port: int = 8000) -> None:
    """Bring the database up to date, then serve on http://localhost:<port>/ until a signal ends it."""
    starting.check_database(app)
    secret.settle(app)
    upgrade_database(app)
    with app.app_context():
        database = shown(db.engine.url)
        sockets = _listen(port, database)
        link = access.new_link(f"http://localhost:{port}")
        db.engine.dispose()  # no connection may be shared across the fork

    def begin(first: bool) -> None:
        # Here, in the process that answers: a thread that was started before the fork would not live in it.
        from remoteweb.sync.worker import start

        start(app)
        if first:
            click.echo(_welcome(database, link))

    with serving.noted(port, database):
        PageServer(app, sockets, begin).run()


def _welcome(database: str, link: str) -> str:
    return (
        f"remoteweb {__version__}\n"
        f"Database  {database}\n"
        f"Open      {link}\n"
        "The link lets one browser in, once, within an hour; `remoteweb link` prints another. Ctrl-C ends it."
    )


def _listen(port: int, database: str) -> list[socket.socket]:
    """Both loopback addresses, or the one that there is.

    A port that is taken on either of them is refused: "localhost" may mean that one, and another program
    would be given the link.
    """
    families = [(socket.AF_INET, "127.0.0.1")]
    if _has_ipv6_loopback():
        families.append((socket.AF_INET6, "::1"))
    with contextlib.ExitStack() as opened:
        sockets = [
            opened.enter_context(_bound(family, address, port, database)) for family, address in families
        ]
        opened.pop_all()
    return sockets


def _bound(family: socket.AddressFamily, address: str, port: int, database: str) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((address, port))
        one.listen(BACKLOG)
    except OSError as error:
        one.close()
        raise CannotListen(_why_not(error, port, database)) from None
    return one


def _why_not(error: OSError, port: int, database: str) -> str:
    another = f"remoteweb serve --port {port + 1 if port < 65535 else 8000}"
    if error.errno == errno.EADDRINUSE:
        if port in serving.ports(database):
            return (
                f"Port {port} is in use by remoteweb itself: `remoteweb link --port {port}` prints a link "
                f"into it. To serve once more, choose another port: {another}."
            )
        return f"Port {port} is in use. Choose another one: {another}."
    if error.errno == errno.EACCES:
        return f"Port {port} needs root: choose one from 1024 on, for instance remoteweb serve --port 8000."
    return f"Port {port} cannot be served: {error.strerror}."


def _has_ipv6_loopback() -> bool:
    # gunicorn itself would try for five seconds, and then give up altogether.
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
