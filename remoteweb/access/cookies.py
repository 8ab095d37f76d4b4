"""The cookies of the sign-in: which names they have, and that no script, no other site and no clear line gets them."""

from flask import Flask, request
from werkzeug.wrappers import Response

from remoteweb.access.origin import is_loopback
from remoteweb.secret import KeyOnDemand


class MessageCookie(KeyOnDemand):
    """Flask's own cookie carries the sentence for the next page, and nothing else; it keeps to the same rules."""

    def get_cookie_name(self, app: Flask) -> str:
        return _named("remoteweb_session")

    def get_cookie_secure(self, app: Flask) -> bool:
        return _is_secure()


def session_cookie() -> str:
    """`remoteweb`, with the port if there is one: browsers share the cookies of a host among all its ports.

    Otherwise a second remoteweb, at the other end of an SSH tunnel, would throw this one's browser out.
    """
    return _named("remoteweb")


def known_cookie() -> str:
    """By which a browser is known again that has been signed in before."""
    return _named("remoteweb_known")


def give(answer: Response, name: str, value: str, seconds: float) -> None:
    answer.set_cookie(
        name, value, max_age=int(seconds), path="/", httponly=True, samesite="Lax", secure=_is_secure()
    )


def take_away(answer: Response, name: str) -> None:
    answer.delete_cookie(name, path="/", httponly=True, samesite="Lax", secure=_is_secure())


def _named(name: str) -> str:
    """With `__Host-` a browser takes it from this very host alone, by https alone: no sibling domain can plant one."""
    _, _, port = request.host.rpartition(":")
    return ("__Host-" if _is_secure() else "") + (f"{name}_{port}" if port.isdecimal() else name)


def _is_secure() -> bool:
    """Everywhere but on this machine itself, also where a proxy does not tell that the browser came by https."""
    return request.is_secure or not is_loopback(request.host)
