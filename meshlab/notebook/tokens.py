"""An issuer of tokens for lessons: it has a key of its own, signs JSON Web Tokens, and publishes what proves them.

A real one is a login service. What a mesh needs of it is the public key (JWKS), so a lesson needs no more.
"""

from __future__ import annotations

import base64
import json
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

__all__ = ["Issuer", "claims_of"]


class Issuer:
    """Signs with RS256. `jwks` is the JSON that a RequestAuthentication takes as it is.

    >>> login = Issuer("https://login.example")
    >>> claims_of(login.token(sub="alice"))["iss"]
    'https://login.example'
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def token(self, *, lasts: float = 3600.0, **claims: Any) -> str:
        """A token with these claims, issued now; `lasts` in seconds, negative for one that is over."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        now = int(time.time())
        said = {"iss": self.name, "iat": now, "exp": int(now + lasts), **claims}
        head = {"alg": "RS256", "typ": "JWT", "kid": self.name}
        text = ".".join(_base64(json.dumps(part).encode()) for part in (head, said))
        return f"{text}.{_base64(self._key.sign(text.encode(), PKCS1v15(), hashes.SHA256()))}"

    @property
    def jwks(self) -> str:
        """The public key, as JSON Web Key Set."""
        public = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.name}
        return json.dumps({"keys": [{**key, "n": _base64(_bytes(public.n)), "e": _base64(_bytes(public.e))}]})

    @cached_property
    def _key(self) -> RSAPrivateKey:
        from cryptography.hazmat.primitives.asymmetric import rsa

        return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, whoever signed it: anybody can read one. Raises ValueError for a text that is none."""
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError(f"a token has three parts, not {len(parts)}")
    middle = parts[1]
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return said


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
