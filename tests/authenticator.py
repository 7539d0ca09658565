"""A passkey in software, as an authenticator and a browser make it: WebAuthn's own formats, so
tests can also send what no honest browser would."""

import hashlib
import json
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

UP, UV, AT = 0x01, 0x04, 0x40  # the user was present; was verified; attested data is included


def encode(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Passkey:
    """One key pair for one site. Change its attributes to make it lie."""

    def __init__(self, host: str = "localhost", origin: str = "http://localhost:8000") -> None:
        self.host, self.origin = host, origin
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = secrets.token_bytes(16)
        self.flags, self.count, self.step = UP | UV, 0, 1
        self.handle = b""
        self.attachment: str | None = None  # as the browser says it
        self.more: dict[str, Any] = {}  # in the client data

    def client_data(self, kind: str, challenge: str) -> bytes:
        told = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(told | self.more).encode()

    def data(self, attested: bytes = b"") -> bytes:
        flags = self.flags | (AT if attested else 0)
        host = hashlib.sha256(self.host.encode()).digest()
        return host + struct.pack(">BI", flags, self.count) + attested

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """Answer `navigator.credentials.create`."""
        self.handle = decode(options["user"]["id"])
        point = self.key.public_key().public_numbers()
        cose = {
            1: 2,
            3: -7,
            -1: 1,
            -2: point.x.to_bytes(32, "big"),
            -3: point.y.to_bytes(32, "big"),
        }
        attested = bytes(16) + struct.pack(">H", len(self.id)) + self.id + cbor2.dumps(cose)
        made = {"fmt": "none", "attStmt": {}, "authData": self.data(attested)}
        response = {"attestationObject": encode(cbor2.dumps(made))}
        return self.credential("webauthn.create", options["challenge"], response)

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        """Answer `navigator.credentials.get`."""
        self.count += self.step
        data = self.data()
        client_data = self.client_data("webauthn.get", options["challenge"])
        signed = data + hashlib.sha256(client_data).digest()
        signature = self.key.sign(signed, ec.ECDSA(SHA256()))
        response = {"authenticatorData": encode(data), "signature": encode(signature)}
        response["userHandle"] = encode(self.handle)
        return self.credential("webauthn.get", options["challenge"], response)

    def credential(self, kind: str, challenge: str, response: dict[str, Any]) -> dict[str, Any]:
        response["clientDataJSON"] = encode(self.client_data(kind, challenge))
        told = {"authenticatorAttachment": self.attachment} if self.attachment else {}
        return told | {
            "id": encode(self.id),
            "rawId": encode(self.id),
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {},
        }
