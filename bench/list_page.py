"""The list page in the server: WSGI in, bytes out, against a Flask route that returns nothing."""

import re
from collections.abc import Callable
from urllib.parse import quote

from flask import Flask
from ground import Ground
from table import Row, ms
from timing import Times, interleaved
from werkzeug.test import Client, create_environ, run_wsgi_app

from remoteweb import access

MOST = 0.015  # seconds that 95 of 100 pages take at most
EMPTY = "empty route"
Page = Callable[[], None]


def measure(ground: Ground, app: Flask, jobs: int, only: str = "") -> list[Row]:
    """One row per kind of page; `only` picks one."""
    empty = Flask("empty")
    empty.add_url_rule("/", view_func=lambda: "")
    with app.app_context():
        link = access.new_link("http://localhost")
    browser = Client(app)
    browser.get(link)
    cookie = browser.get_cookie("remoteweb")
    assert cookie is not None
    addresses = _addresses(app, cookie.value)
    pages = {
        name: _page(app, address, cookie.value) for name, address in addresses.items() if only in ("", name)
    }
    times = interleaved(max(40, ground.rounds * 4), _page(empty, "/", ""), *pages.values(), warm_up=5)
    base, rest = times[0], dict(zip(pages, times[1:], strict=True))
    return [_row(f"{jobs:,} jobs, {name}", taken, base) for name, taken in rest.items()]


def _row(what: str, taken: Times, base: Times) -> Row:
    worst = taken.part(95)
    return Row(
        what,
        f"{ms(taken.median)}, p95 {ms(worst)}",
        f"{EMPTY}: {ms(base.median)}",
        f"{taken.median / base.median:.0f}x",
        f"p95 {ms(MOST)}",
        worst <= MOST,
    )


def _addresses(app: Flask, cookie: str) -> dict[str, str]:
    """A deep page is found as a person would: by following "more"."""
    deep = "/?view=ended"
    for _ in range(20):
        more = re.search(r"after=([0-9.]+)", _body(app, deep, cookie))
        if more is None:
            break
        deep = f"/?view=ended&after={more[1]}"
    return {
        "plain": "/",
        "a filter": "/?view=ended",
        "a server": "/?server=1",
        "a deep page": deep,
        "a search, one job": "/?q=" + quote("000042"),
        "a search, a common word": "/?q=protein",
        "a search, two words": "/?q=" + quote("galaxy sweep"),
        "a search, two letters": "/?q=pr",
        "a search, two letters nowhere": "/?q=qx",
        "a search, no hits": "/?q=nowhere-to-be-found",
        "a search within a filter and a server": "/?q=plasma&view=needs-you&server=1",
    }


def _page(app: Flask, address: str, cookie: str) -> Page:
    return lambda: _body(app, address, cookie) and None


def _body(app: Flask, address: str, cookie: str) -> str:
    environ = create_environ(address, "http://localhost", headers={"Cookie": f"remoteweb={cookie}"})
    parts, status, _headers = run_wsgi_app(app, environ)
    body = b"".join(parts)
    assert status.startswith("200"), f"{address}: {status}"
    return body.decode()
