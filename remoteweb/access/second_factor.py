"""Where the installation asks for it, a password lets nobody in alone: a code stands beside it, or a passkey in its place.

Who has neither yet is led to the page of codes after signing in, before anything else. Who has a passkey already comes in by
that one: else whoever has found the password could give the account a code of his own.
"""

from flask import current_app, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from remoteweb import viewer
from remoteweb.access import not_allowed
from remoteweb.accounts import Account

INSTEAD = (
    "The password alone lets nobody in here. Sign in with your passkey; if that is gone, type a recovery code in the place of "
    "the password."
)
STAYS = "The code stays: the password alone lets nobody in here."

# What leads out of that: a code, or a passkey in the place of the password, with the proof that either asks for.
WAYS_OUT = frozenset(
    {
        "access.code",
        "access.code_picture",
        "access.add_code",
        "access.passkey",
        "access.add_passkey",
        "access.remove_password",
        "access.prove",
        "access.prove_by_password",
        "access.prove_by_passkey",
        "access.sign_out",
    }
)


def is_required() -> bool:
    return bool(current_app.config["REQUIRE_SECOND_FACTOR"])


def bars(account: Account) -> bool:
    """Its password, although it is the right one."""
    from remoteweb.access import passkeys

    return is_required() and not account.totp and bool(passkeys.of(account.id))


def lead(who: viewer.Viewer) -> AnyResponse | None:
    """In the place of the page that was asked for, where the account could be come in to by its password alone."""
    if not (who.by_password_alone and is_required()) or request.endpoint in WAYS_OUT:
        return None
    return not_allowed.lead_to(url_for("access.code"))
