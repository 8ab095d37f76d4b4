"""A phone's side of passkeys, in software: it signs what it is told to, also what no real one would."""

import hashlib
import html
import json
import re
import struct
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from werkzeug.test import TestResponse

PRESENT, VERIFIED, ATTESTED = 1, 4, 64


def options(answer: TestResponse) -> dict[str, Any]:
    """What the page asks the phone."""
    match = re.search(r'data-passkey="([^"]*)"', answer.text)
    assert match, answer.text
    asked: dict[str, Any] = json.loads(html.unescape(match[1]))["publicKey"]
    return asked


class Phone:
    def __init__(self, host: str = "localhost", origin: str = "http://localhost", number: int = 1) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.host, self.origin, self.counter = host, origin, 0
        self.id, self.user = bytes([number]) * 16, b""

    def make(self, asked: dict[str, Any], flags: int = PRESENT | VERIFIED, **changed: str) -> str:
        self.user = websafe_decode(asked["user"]["id"])
        public = cbor.encode(dict(ES256.from_cryptography_key(self.key.public_key())))
        attested = bytes(16) + struct.pack(">H", len(self.id)) + self.id + public
        made = cbor.encode(
            {"fmt": "none", "attStmt": {}, "authData": self._data(flags | ATTESTED) + attested}
        )
        client = self._client("webauthn.create", asked["challenge"], **changed)
        return self._answer(
            {"clientDataJSON": websafe_encode(client), "attestationObject": websafe_encode(made)}
        )

    def sign(self, asked: dict[str, Any], flags: int = PRESENT | VERIFIED, **changed: str) -> str:
        client, data = self._client("webauthn.get", asked["challenge"], **changed), self._data(flags)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        parts = {
            "clientDataJSON": client,
            "authenticatorData": data,
            "signature": signature,
            "userHandle": self.user,
        }
        return self._answer({name: websafe_encode(part) for name, part in parts.items()})

    def _data(self, flags: int) -> bytes:
        return hashlib.sha256(self.host.encode()).digest() + struct.pack(">BI", flags, self.counter)

    def _client(self, kind: str, challenge: str, **changed: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False, **changed}
        return json.dumps(said).encode()

    def _answer(self, response: dict[str, str]) -> str:
        id_ = websafe_encode(self.id)
        return json.dumps({"id": id_, "rawId": id_, "type": "public-key", "response": response})
