"""Browsers that are known again: one that was signed in to an account before is not counted among its strangers.

What such a cookie lets a thief do is to try ten passwords of his own, as anybody may who comes from another address.
"""

import hashlib
import secrets
from dataclasses import dataclass

from flask import current_app, request
from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.wrappers import Response

from remoteweb import secret
from remoteweb.access import cookies, throttle
from remoteweb.accounts import Account

SECONDS = 365 * 86400


@dataclass(frozen=True, slots=True)
class Tries:
    """The buckets that one more try takes from, and the one that the right answer fills again."""

    keys: tuple[tuple[str, throttle.Limit], ...]
    own: str

    def take(self) -> float:
        """0.0: it may be tried; otherwise the seconds until then."""
        for key, limit in self.keys:
            wait = throttle.take(key, limit)
            if wait:
                return wait
        return 0.0


def tries(what: str, limit: throttle.Limit, name: str, account: Account | None) -> Tries:
    """For an account that need not be there: what is counted, and what is said, is the same without one."""
    number = _number_for(account) if account is not None else None
    if number is not None:
        return Tries(((f"{what} known {number}", limit),), f"{what} known {number}")
    # A digest: what was typed may be a password in the wrong field, or very long.
    own = f"{what} {hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:32]}"
    return Tries(((throttle.of_address(request.remote_addr), throttle.ADDRESS), (own, limit)), own)


def give_cookie(answer: Response, account_id: int) -> None:
    value = _signer().dumps([account_id, secrets.token_hex(8)])
    cookies.give(answer, cookies.known_cookie(), value, SECONDS)


def _number_for(account: Account) -> str | None:
    try:
        account_id, number = _signer().loads(request.cookies.get(cookies.known_cookie(), ""), max_age=SECONDS)
    except (BadSignature, ValueError, TypeError):
        return None
    return str(number) if account_id == account.id else None


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(secret.keys(current_app), salt="a browser that is known again")
