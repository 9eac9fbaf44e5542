"""Session tokens of the metadata service, version 2: nothing is kept, a token proves itself."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from hashlib import sha256

LONGEST_S = 21600


def make_token(secret: bytes, instance: str, expires: int) -> str:
    """A token good for this instance until `expires` (seconds of the clock that `check_token` is given)."""
    when = expires.to_bytes(8, "big")
    return urlsafe_b64encode(when + _seal(secret, instance, when)).decode()


def check_token(secret: bytes, instance: str, token: str, now: float) -> bool:
    """Whether the token was made for this instance and is still good."""
    try:
        raw = urlsafe_b64decode(token.encode("ascii"))
    except (NotBase64, ValueError):
        return False
    when, seal = raw[:8], raw[8:]
    return hmac.compare_digest(seal, _seal(secret, instance, when)) and int.from_bytes(when, "big") > now


def _seal(secret: bytes, instance: str, when: bytes) -> bytes:
    return hmac.digest(secret, when + instance.encode(), sha256)
