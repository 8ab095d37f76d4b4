"""A fresh proof of identity: what is hard to take back is done only by who has just shown that it is the person.

A session's cookie may have been copied, or a phone lent; so before a server is added, a host key accepted or
a way in changed, the person proves it once more, and for a quarter of an hour.

    @bp.post("/servers")
    @proof.required
    def add(): ...
"""

import functools
import time
from collections.abc import Callable
from typing import Any, ParamSpec

from flask import request, url_for
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import viewer
from remoteweb.access import not_allowed
from remoteweb.access.onward import here

SECONDS = 900.0
P = ParamSpec("P")


def is_fresh() -> bool:
    """Whether it was proved within the last quarter of an hour. On a terminal, who runs the command has its files anyway."""
    who = viewer.current()
    return who.session_id is None or who.proved_at > time.time() - SECONDS


def required(view: Callable[P, Any]) -> Callable[P, Any]:
    """For a view, under its route: without a fresh proof it does nothing, and the person is asked for one."""

    @functools.wraps(view)
    def proved(*args: P.args, **values: P.kwargs) -> Any:
        return view(*args, **values) if is_fresh() else ask()

    return proved


def ask() -> AnyResponse:
    """To the page that asks for the proof, and from there back to the page that the person was on."""
    return not_allowed.lead_to(url_for("access.prove", next=here(request)))
