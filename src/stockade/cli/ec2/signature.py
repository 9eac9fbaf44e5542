"""Signature version 2: the parameters of a Query request, signed with an access key's secret."""

UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


def encode(text: str) -> str:
    """Percent-encoding as RFC 3986 has it, which is what both sides sign: space is %20, hex is upper case."""
    return "".join(chr(byte) if byte in UNRESERVED else f"%{byte:02X}" for byte in text.encode())


def canonical_query(parameters: "dict[str, str]") -> str:
    """The parameters, encoded, in byte order of their names: both the signed text and the request's body."""
    return "&".join(f"{encode(name)}={encode(parameters[name])}" for name in sorted(parameters, key=str.encode))


def sign(secret: str, verb: str, host: str, path: str, parameters: "dict[str, str]") -> str:
    """The Signature parameter: HMAC-SHA256 in base64. `host` as the Host header says it, port included."""
    import binascii
    import hmac

    text = f"{verb}\n{host.lower()}\n{path or '/'}\n{canonical_query(parameters)}"
    return binascii.b2a_base64(hmac.digest(secret.encode(), text.encode(), "sha256"), newline=False).decode()
