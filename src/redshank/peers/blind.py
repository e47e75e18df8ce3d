"""Blind comparison of tokens: who asks learns of each of its tokens whether the other side has it, and nothing else; who answers
learns how many were asked about, and nothing else.

The protocol is the Diffie-Hellman private set intersection (Meadows 1986; Huberman, Franklin, Hogg 1999) on Ed25519's group, by
libsodium. The asker sends H(token)^a, the answerer raises it to its own secret b, the asker takes a away again and has H(token)^b;
the answerer's set is given as masks, eight bytes of a hash of H(token)^b. Without b nobody can make a mask, so that guessing raw
identifiers needs a question for each guess, and questions are counted. Both sides are taken to follow the protocol.

Why not a ready library: the one on the Python index for this (openmined-psi 2.0.6) requires one exact version of protobuf and carries
another copy of it, and has wheels for one kind of machine alone; libsodium's binding is kept by the Python cryptographic authority. And
why keyed tokens beneath: raw identifiers enter neither installation, and a key that changes each month lets old tokens go.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence

from nacl import bindings, exceptions

from redshank.core import BadInput

POINT = 32
MASK = 8
"""Bytes of a mask. By chance one of a million masks is met by one of 10^13 questions."""


def point_of(purpose: str, key: str, value: str) -> bytes:
    """The group element that stands for a token."""
    digest = hashlib.sha512(b"redshank peers token\0" + f"{purpose}\0{key}\0{value}".encode()).digest()
    return bindings.crypto_core_ed25519_from_uniform(digest[:POINT])


def secret_scalar(secret: bytes, name: str) -> bytes:
    """The answerer's b: the same for one `secret` and `name`."""
    return bindings.crypto_core_ed25519_scalar_reduce(
        hmac.digest(secret, f"redshank peers scalar\n{name}".encode(), "sha512")
    )


def mask_of(point: bytes) -> bytes:
    """The mask of H(token)^b."""
    return hashlib.sha256(b"redshank peers mask\0" + point).digest()[:MASK]


def raised(point: bytes, scalar: bytes) -> bytes:
    """`point` to the power of `scalar`. Raises `BadInput` for bytes that are no element of the group."""
    try:
        if len(point) == POINT and bindings.crypto_core_ed25519_is_valid_point(point):
            return bindings.crypto_scalarmult_ed25519_noclamp(scalar, point)
    except (exceptions.CryptoError, TypeError, ValueError):
        pass
    raise BadInput("not a point of the group")


class Blinded:
    """One question: tokens blinded with a secret that is made for it and then forgotten."""

    def __init__(self, points: Sequence[bytes]) -> None:
        self._scalar = bindings.crypto_core_ed25519_scalar_reduce(os.urandom(64))
        self.points = [raised(point, self._scalar) for point in points]

    def masks(self, answered: Sequence[bytes]) -> list[bytes]:
        """The masks of the tokens, from the answer. Raises `BadInput` for an answer of another length, or of what is no point."""
        if len(answered) != len(self.points):
            raise BadInput(f"{len(answered)} points for {len(self.points)} that were asked")
        inverse = bindings.crypto_core_ed25519_scalar_invert(self._scalar)
        return [mask_of(raised(point, inverse)) for point in answered]
