"""The auditor's own key: Ed25519, made at its first start, readable by its user alone, never leaving its machine.

What is signed is a seal's place and hash, in the words of `signed_text`: the hash vouches for every event before it.
"""

import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)


class KeyFileError(ValueError):
    """A key's file holds no Ed25519 key, or others may read it; the message says which."""


def signed_text(genesis: bytes, partition: int, seq: int, event_hash: bytes) -> bytes:
    """Return the bytes that are signed; `genesis` ties them to this one ledger."""
    return f"chargeline seal v1\n{genesis.hex()}\n{partition}-{seq}\n{event_hash.hex()}\n".encode()


class SealKey:
    """The private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def of_file(cls, path: Path) -> "SealKey":
        """Read the key, or make it where there is none; raises KeyFileError."""
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = Ed25519PrivateKey.generate()
            text = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(text)
        if path.stat().st_mode & 0o077:
            raise KeyFileError(f"{path} can be read by others: chmod 600")
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError(f"{path} holds no Ed25519 private key in PEM")
        return cls(key)

    def sign(self, genesis: bytes, partition: int, seq: int, event_hash: bytes) -> bytes:
        """Return the 64 bytes of the signature; the same again for the same seal."""
        return self._key.sign(signed_text(genesis, partition, seq, event_hash))

    @property
    def public_pem(self) -> bytes:
        """The public key, to be given to whoever checks."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key in PEM; raises KeyFileError."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{path} holds no Ed25519 public key in PEM")
    return key


def is_signed(
    key: Ed25519PublicKey, genesis: bytes, partition: int, seq: int, event_hash: bytes, signature: bytes
) -> bool:
    """Tell whether the signature of a seal is this key's."""
    try:
        key.verify(signature, signed_text(genesis, partition, seq, event_hash))
    except InvalidSignature:
        return False
    return True
