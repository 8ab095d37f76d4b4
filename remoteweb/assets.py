"""Addresses of style sheets, scripts and pictures: kept for a year, renamed when their content changes."""

import hashlib
from functools import lru_cache
from pathlib import Path

from flask import Flask, Response, current_app, request, url_for


def init_app(app: Flask) -> None:
    app.add_template_global(asset_url)
    app.after_request(_keep_for_a_year)


def asset_url(name: str) -> str:
    """`/static/<name>?v=<hash of its content>`. A missing file is an error here, not a broken page."""
    return url_for("static", filename=name, v=_version(name))


def _version(name: str) -> str:
    path = Path(current_app.static_folder or "") / name
    stat = path.stat()
    return _digest(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _digest(path: Path, _changed: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _keep_for_a_year(response: Response) -> Response:
    if (
        request.endpoint == "static"
        and request.method in ("GET", "HEAD")
        and response.status_code in (200, 304)
    ):
        # Only under the address of this very content: an older page may still ask for the former one.
        name = (request.view_args or {}).get("filename", "")
        if request.args.get("v") == _version(name):
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
