"""Making keys, and opening them for a login: where private halves are in memory. Never imported by a page."""

from typing import TYPE_CHECKING

from flask import current_app

from remotejobs.authorized import PublicKey
from remotejobs.keyfiles import HeldKey
from remoteweb import made_keys
from remoteweb.config import WrongSetting
from remoteweb.database import db
from remoteweb.made_keys import At
from remoteweb.sealing import CannotUnseal, Sealed, keyring
from remoteweb.ways import MadeKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ITS_LINE_IS_MISSING = "Its line has to stand in ~/.ssh/authorized_keys there, in one piece."


def make_wanted() -> None:
    """By the sync worker: what was asked for on a page."""
    for key_id in made_keys.wanted():
        try:
            make(key_id)
        except WrongSetting as error:
            current_app.logger.error("No key could be made: %s", error.message)
            db.session.rollback()
            made_keys.could_not_be_made(key_id, error.message)


def make(key_id: int) -> None:
    """Raises WrongSetting where there is nothing to seal it with."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    row = db.session.get(MadeKey, key_id)
    if row is None:
        return  # it was revoked before it was there
    at = At.of(row)
    db.session.rollback()  # nothing of the database is held meanwhile
    keyring(may_make=True)
    private = Ed25519PrivateKey.generate()
    public = _public_half(private, at)

    def seal() -> Sealed:
        return keyring(may_make=False).first.close(private.private_bytes_raw(), *_place(at, public))

    made_keys.made(key_id, public, seal)


def opened(row: MadeKey) -> HeldKey:
    """Raises CannotUnseal."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = Ed25519PrivateKey.from_private_bytes(_private_half(row))
    text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    fingerprint = PublicKey.parse(row.public).fingerprint
    return HeldKey(f"the key that was made for it here ({fingerprint})", text, ITS_LINE_IS_MISSING)


def seal_anew(row: MadeKey) -> bool:
    """Under the first of the keys that are given. False: it lies under that one, or was destroyed meanwhile.

    Raises CannotUnseal.
    """
    under = keyring(may_make=False).first
    if not row.sealed or row.sealed_by == under.name:
        return False
    place = _place(At.of(row), PublicKey.parse(row.public))
    return made_keys.sealed_anew(row.id, row.sealed, under.close(_private_half(row), *place))


def _private_half(row: MadeKey) -> bytes:
    """Raises CannotUnseal."""
    at = At.of(row)
    place = _place(at, PublicKey.parse(row.public))
    try:
        return keyring(may_make=False).open(Sealed(row.sealed, row.sealed_by), *place)
    except (WrongSetting, CannotUnseal) as error:
        why = error.message if isinstance(error, WrongSetting) else error
        raise CannotUnseal(f"The key that was made for {at} cannot be used. {why}") from None


def _public_half(private: "Ed25519PrivateKey", at: At) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return PublicKey.parse(f"{line} remoteweb-{at}")


def _place(at: At, public: PublicKey) -> tuple[str | int, ...]:
    return ("made key", *at, public.kind, public.blob.hex())
