"""Passkeys: a key pair per phone and name of this site. The phone asks for finger, face or its own code before it signs."""

import hashlib
import hmac
import ipaddress
import json
import secrets
import struct
import time
from collections.abc import Sequence
from typing import Any

from fido2 import cbor
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import (
    Aaguid,
    AttestedCredentialData,
    AuthenticationResponse,
    AuthenticatorData,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    RegistrationResponse,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from flask import current_app, request
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from remoteweb import secret
from remoteweb.access.sessions import digest
from remoteweb.accounts import Account, Entry, Passkey
from remoteweb.database import begin_writing, db
from remoteweb.untrusted import line

CHALLENGE_SECONDS = 900.0
VERIFIED = UserVerificationRequirement.REQUIRED


class Refused(ValueError):
    """What came is no answer to what was asked. For the log; a person is told less."""


def host() -> str | None:
    """The name that passkeys of this page are for. None: an IP address cannot have one."""
    name = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdecimal() else request.host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name.lower()
    return None


def of(account_id: int) -> Sequence[Passkey]:
    return db.session.scalars(
        select(Passkey).where(Passkey.account_id == account_id).order_by(Passkey.id)
    ).all()


def options_to_add(account: Account) -> str | None:
    """What the browser's `create` is asked, as JSON; None where there can be none."""
    if host() is None:
        return None
    user = PublicKeyCredentialUserEntity(
        id=account.handle.encode(), name=account.name, display_name=account.name
    )
    there = [_descriptor(one) for one in of(account.id) if one.host == host()]
    options, _ = _server().register_begin(
        user, there, ResidentKeyRequirement.REQUIRED, VERIFIED, challenge=_challenge(f"add {account.id}")
    )
    return json.dumps(dict(options))


def options_to_show(purpose: str, account_id: int | None = None) -> str | None:
    """What the browser's `get` is asked, as JSON. Without an account none is named: the phone knows its own."""
    if host() is None:
        return None
    there = (
        [_descriptor(one) for one in of(account_id) if one.host == host()] if account_id is not None else None
    )
    if there == []:
        return None
    options, _ = _server().authenticate_begin(there, VERIFIED, challenge=_challenge(purpose))
    return json.dumps(dict(options))


def add(account: Account, answer: str, label: str) -> None:
    """In the caller's transaction. Raises Refused."""
    begin_writing()
    purpose = f"add {account.id}"
    try:
        response = RegistrationResponse.from_dict(json.loads(answer))
        challenge = response.response.client_data.challenge
        data = _server().register_complete(_state(purpose, challenge), response)
        made = data.credential_data
        assert made is not None  # noqa: S101  register_complete has looked
        public_key = websafe_encode(cbor.encode(dict(made.public_key)))
    except Exception as error:  # the library says of hostile input whatever its parts say
        raise Refused(f"{type(error).__name__}: {error}") from error
    _spend(challenge)
    passkey = Passkey(account_id=account.id, host=host(), created_at=time.time(), public_key=public_key)
    passkey.credential_id, passkey.sign_count = websafe_encode(made.credential_id), data.counter
    passkey.label = line(label, 60) or "Passkey"
    db.session.add(passkey)
    try:
        db.session.flush()
    except IntegrityError as error:
        raise Refused("This passkey is there already.") from error


def use(answer: str, purpose: str, account_id: int | None = None) -> Account:
    """Whose passkey signed. In the caller's transaction. Raises Refused."""
    begin_writing()
    try:
        response = AuthenticationResponse.from_dict(json.loads(answer))
        passkey = _known(response, account_id)
        challenge = response.response.client_data.challenge
        _server().authenticate_complete(_state(purpose, challenge), [_credential(passkey)], response)
        data = response.response.authenticator_data
    except Exception as error:  # as in `add`
        raise Refused(f"{type(error).__name__}: {error}") from error
    _spend(challenge)
    _count(passkey, data)
    return db.session.get_one(Account, passkey.account_id)


def _known(response: AuthenticationResponse, account_id: int | None) -> Passkey:
    passkey = db.session.scalar(
        select(Passkey).where(Passkey.credential_id == response.id, Passkey.host == host())
    )
    account = db.session.get(Account, passkey.account_id) if passkey else None
    if passkey is None or account is None or account.is_shut_out or account_id not in (None, account.id):
        raise ValueError("no such passkey")
    named = response.response.user_handle
    if named is not None and not hmac.compare_digest(named, account.handle.encode()):
        raise ValueError("the passkey of another account")
    return passkey


def _count(passkey: Passkey, data: AuthenticatorData) -> None:
    """One that counts has counted on: else a copy of it has signed meanwhile. (Those of phones do not count.)"""
    counted = db.or_(Passkey.sign_count < data.counter, db.and_(Passkey.sign_count == 0, data.counter == 0))
    used = db.update(Passkey).where(Passkey.id == passkey.id, counted)
    if (
        db.session.scalar(used.values(sign_count=data.counter, used_at=time.time()).returning(Passkey.id))
        is None
    ):
        raise Refused("Its counter stands where it stood before: there may be a copy of it.")


def _server() -> Fido2Server:
    def is_ours(origin: str) -> bool:
        # By https; only on this machine itself browsers have passkeys without. Behind a proxy our own scheme is not theirs.
        schemes = ("https", "http") if host() == "localhost" else ("https",)
        return origin in [f"{scheme}://{request.host.lower()}" for scheme in schemes]

    return Fido2Server(PublicKeyCredentialRpEntity(id=host() or "", name="remoteweb"), verify_origin=is_ours)


def _descriptor(passkey: Passkey) -> PublicKeyCredentialDescriptor:
    return PublicKeyCredentialDescriptor(
        type=PublicKeyCredentialType.PUBLIC_KEY, id=websafe_decode(passkey.credential_id)
    )


def _credential(passkey: Passkey) -> AttestedCredentialData:
    key = CoseKey.parse(cbor.decode(websafe_decode(passkey.public_key)))  # type: ignore[arg-type]
    return AttestedCredentialData.create(Aaguid.NONE, websafe_decode(passkey.credential_id), key)


def _state(purpose: str, challenge: bytes) -> dict[str, Any]:
    """What the library compares with: our own challenge, if that is one."""
    at = struct.unpack(">d", challenge[:8])[0]
    ours = hmac.compare_digest(challenge[24:], _seal(purpose, challenge[:24]))
    if len(challenge) != 56 or not ours or not 0 <= time.time() - at <= CHALLENGE_SECONDS:
        raise ValueError("not a challenge of ours, or an old one")
    return {"challenge": websafe_encode(challenge), "user_verification": VERIFIED}


def _challenge(purpose: str) -> bytes:
    """Its time, a random number and our seal: nothing is stored for a stranger who only looks at the page."""
    body = struct.pack(">d", time.time()) + secrets.token_bytes(16)
    return body + _seal(purpose, body)


def _seal(purpose: str, body: bytes) -> bytes:
    key = hashlib.sha256(b"passkey challenges of " + secret.settle(current_app).encode()).digest()
    return hmac.digest(key, f"{purpose} at {request.host}|".encode() + body, "sha256")


def _spend(challenge: bytes) -> None:
    """It counts once: an answer that was copied is worth nothing. Raises Refused."""
    now = time.time()
    db.session.execute(db.delete(Entry).where(Entry.expires_at < now))
    spent = Entry(digest=digest(challenge.hex()), kind="challenge", account_id=0, created_at=now, used_at=now)
    spent.expires_at = now + CHALLENGE_SECONDS
    db.session.add(spent)
    try:
        db.session.flush()
    except IntegrityError as error:
        raise Refused("This answer was used before.") from error
