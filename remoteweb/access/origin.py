"""Where a request comes from: whether the browser meant us, and whether one of our own pages sent it."""

import re
from urllib.parse import urlsplit

from werkzeug.wrappers import Request

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,253})(:[0-9]{1,5})?\Z")


def is_our_host(host: str, allowed: frozenset[str]) -> bool:
    """Whether `Host` is a name of ours. With a foreign one, somebody's page has pointed its own name at us.

    Flask's TRUSTED_HOSTS is not used, because it refuses `[::1]:8000` however it is written.
    """
    match = _HOST.match(host.lower())
    return match is not None and (match[1] in LOOPBACK or match[1] in allowed or match[0] in allowed)


def is_loopback(host: str) -> bool:
    """Whether this name, with or without a port, means the machine itself."""
    match = _HOST.match(host.lower())
    return match is not None and match[1] in LOOPBACK


def is_our_page(request: Request) -> bool:
    """Whether a changing request was sent by one of our own pages, or by the person directly.

    Every browser says so in Sec-Fetch-Site (on https, and on localhost) or at least in Origin. What says
    neither is no browser, and is refused: a script can send Origin, and a gap for it would be one for all.
    "same-site" is refused: another port of localhost is another program.
    """
    if request.method in SAFE_METHODS:
        return True
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    return _host_of(request.headers.get("Origin", "")) == request.host.lower()


def _host_of(origin: str) -> str | None:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    # The host alone: behind a proxy that adds TLS our scheme is not the browser's.
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None
