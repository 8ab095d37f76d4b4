"""Where one was going before one had to sign in, or to prove who one is: an address of ours, and of nobody else."""

import re
from urllib.parse import urlsplit

from werkzeug.wrappers import Request

# One slash, and nothing that a browser would read as a second one or drop on the way.
_OURS = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f-\x9f]{0,2000}\Z")


def onward(path: str | None, otherwise: str = "/") -> str:
    """The path if it is one of this site, else `otherwise`."""
    return path if path and _OURS.match(path) else otherwise


def here(request: Request) -> str:
    """The page that a person looks at: of a form or a fragment, the one that it stands on."""
    if request.method == "GET" and "HX-Request" not in request.headers:
        return onward(request.full_path.rstrip("?"))
    try:
        came_from = urlsplit(request.referrer or "")
    except ValueError:
        return "/"
    if came_from.netloc.lower() != request.host.lower():
        return "/"
    return onward(came_from.path + (f"?{came_from.query}" if came_from.query else ""))
