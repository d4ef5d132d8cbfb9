"""Key sets (JWKS) before Envoy sees them: it refuses a whole listener for a set without any key that it can use.

A key counts if Envoy's library would take it: its kind, its numbers, its algorithm. What is doubtful does not count.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["NOBODYS", "problem"]

Key = Mapping[str, Any]
#: A set with one key, the private half of which was never kept: no token fits.
NOBODYS = json.dumps({"keys": [{
    "kty": "EC", "crv": "P-256", "kid": "nobody's", "alg": "ES256",
    "x": "KphxHCe7Rk0aXGomT48SOaLifUEWsZOYLjSSzRgX3JQ",
    "y": "BgZ5rDEgvYd30mdWROXyoFaR58DJ2WYNM848Z-fkRPo",
}]})
#: Bits of an RSA modulus that BoringSSL takes.
SMALLEST, LARGEST = 512, 8192
#: Curve → prime, b, algorithm: y² = x³ - 3x + b (FIPS 186).
_CURVES = {
    "P-256": (
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B, "ES256",
    ),
    "P-384": (
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF, "ES384",
    ),
    "P-521": (
        2**521 - 1,
        0x0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
        "ES512",
    ),
}


def problem(text: str) -> str:
    """Why no token can be checked with this key set, "" if some can."""
    try:
        keys = json.loads(text)["keys"]
    except (ValueError, KeyError, TypeError):
        return 'jwks is not a key set ({"keys": [...]})'
    if not isinstance(keys, list) or not keys:
        return "jwks has no keys"
    return "" if any(_usable(key) for key in keys) else "jwks has no key that can be used"


def _usable(key: object) -> bool:
    if not isinstance(key, dict) or not all(isinstance(key.get(name, ""), str) for name in ("kid", "alg")):
        return False
    algorithm = str(key.get("alg", ""))
    try:
        match key.get("kty"):
            case "RSA":
                modulus, exponent = _number(key, "n"), _number(key, "e")
                return (
                    algorithm[:2] in ("", "RS", "PS") and modulus % 2 == exponent % 2 == 1
                    and SMALLEST <= modulus.bit_length() <= LARGEST and 3 <= exponent < 2**33
                )
            case "EC":
                prime, b, wanted = _CURVES[str(key.get("crv"))]
                x, y = _number(key, "x"), _number(key, "y")
                return algorithm in ("", wanted) and max(x, y) < prime and (y * y - (x**3 - 3 * x + b)) % prime == 0
            case "oct":
                return algorithm in ("", "HS256", "HS384", "HS512") and bool(_bytes(key, "k"))
            case "OKP":
                return algorithm in ("", "EdDSA") and key.get("crv") == "Ed25519" and len(_bytes(key, "x")) == 32
    except (KeyError, TypeError, ValueError, binascii.Error):
        pass
    return False


def _number(key: Key, name: str) -> int:
    return int.from_bytes(_bytes(key, name), "big")


def _bytes(key: Key, name: str) -> bytes:
    text = key[name]
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
