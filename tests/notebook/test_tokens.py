"""Tokens of the lessons, held against a library-free reading of their parts."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from meshlab.notebook.tokens import Issuer, claims_of


def number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=="), "big")


def verify(token: str, jwks: str) -> None:
    """Raises InvalidSignature unless the first key of the set signed it."""
    key = json.loads(jwks)["keys"][0]
    signed, _, signature = token.rpartition(".")
    public = RSAPublicNumbers(number(key["e"]), number(key["n"])).public_key()
    public.verify(base64.urlsafe_b64decode(signature + "=="), signed.encode(), PKCS1v15(), hashes.SHA256())


def test_a_token_is_proved_by_its_issuers_key_and_by_no_other() -> None:
    login = Issuer("https://login.example")
    token = login.token(sub="alice", groups=["buyers"])
    verify(token, login.jwks)
    with pytest.raises(InvalidSignature):
        verify(token, Issuer(login.name).jwks)
    with pytest.raises(InvalidSignature):
        verify(token.replace(".", ".x", 1), login.jwks)


def test_a_token_says_who_for_whom_and_how_long() -> None:
    said = claims_of(Issuer("https://login.example").token(sub="alice", lasts=60, groups=["buyers"]))
    assert (said["iss"], said["sub"], said["groups"]) == ("https://login.example", "alice", ["buyers"])
    assert said["exp"] - said["iat"] == 60


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "a.e30x.c"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        claims_of(text)
