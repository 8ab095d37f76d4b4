"""What a reverse proxy or a monitor asks: whether this process answers. It tells nothing else, to nobody."""

from flask import Flask, Response


def init_app(app: Flask) -> None:
    app.add_url_rule("/healthz", "healthz", _healthz)


def _healthz() -> Response:
    # Without a look at the database: whoever is not signed in must not be able to make it work.
    return Response("ok\n", mimetype="text/plain")
