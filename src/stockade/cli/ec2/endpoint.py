"""Where requests go and with which keys: options, then the environment, never a default at Amazon's."""

from stockade.cli.ec2.options import ArgumentProblem, Arguments

DEFAULT_REGION = "us-east-1"
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_EC2", "EC2_URL", "AWS_ENDPOINT_URL")
REGION_VARIABLES = ("EC2_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
# Pairs are taken whole: half a pair from one place and half from another signs nothing.
KEY_VARIABLES = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("AWS_ACCESS_KEY", "AWS_SECRET_KEY"),
    ("EC2_ACCESS_KEY", "EC2_SECRET_KEY"),
)
TOKEN_VARIABLES = ("AWS_SESSION_TOKEN", "AWS_DELEGATION_TOKEN")
AMAZON = ("amazonaws.com", "amazonaws.com.cn", "amazonaws.eu", "api.aws", "aws.dev", "aws.amazon.com")

NO_ENDPOINT = (
    "No endpoint: this tool never calls Amazon by itself. "
    'Run eval "$(stockade env)", set EC2_URL, or give -U URL (-h for usage)'
)
NO_KEYS = (
    "No access key: give -O and -W, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
    '(eval "$(stockade env)" does) (-h for usage)'
)
NO_SOAP = (
    "Signing SOAP with -K and -C is not supported yet: give -O and -W, or set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, to sign Query requests (-h for usage)"
)


class Endpoint:
    """A URL taken apart. `authority` is what the Host header says, `path` begins with a slash."""

    __slots__ = ("authority", "host", "path", "port", "tls", "url")

    def __init__(self, url: str, tls: bool, host: str, port: int, authority: str, path: str) -> None:
        self.url = url
        self.tls = tls
        self.host = host
        self.port = port
        self.authority = authority
        self.path = path


class Keys:
    """An access key, its secret, and a session token if there is one."""

    __slots__ = ("access", "secret", "token")

    def __init__(self, access: str, secret: str, token: str = "") -> None:
        self.access = access
        self.secret = secret
        self.token = token


def choose_endpoint(arguments: Arguments, environ: "dict[str, str]") -> Endpoint:
    """The endpoint that is configured, with the region's path. Raises ArgumentProblem without one or for Amazon's."""
    url = arguments.one("url") or _first(environ, ENDPOINT_VARIABLES)
    if not url:
        raise ArgumentProblem(NO_ENDPOINT)
    endpoint = parse_endpoint(url)
    if not arguments.has("allow-aws") and is_amazon(endpoint.host):
        raise ArgumentProblem(
            f"Refusing to call '{url}': it is one of Amazon's hosts. Give --allow-aws if you mean it (-h for usage)"
        )
    region = arguments.one("region") or _first(environ, REGION_VARIABLES)
    if arguments.has("region") or region not in ("", DEFAULT_REGION):
        endpoint.path = region_path(endpoint.path, region)
    return endpoint


def choose_keys(arguments: Arguments, environ: "dict[str, str]") -> Keys:
    """The keys that sign. Raises ArgumentProblem when there are none, or when only SOAP's are given."""
    token = arguments.one("security-token")
    if arguments.has("private-key") or arguments.has("cert"):
        raise ArgumentProblem(NO_SOAP)
    if arguments.has("aws-access-key") or arguments.has("aws-secret-key"):
        return Keys(arguments.required("aws-access-key"), arguments.required("aws-secret-key"), token)
    for access, secret in KEY_VARIABLES:
        if environ.get(access) and environ.get(secret):
            return Keys(environ[access], environ[secret], token or _first(environ, TOKEN_VARIABLES))
    keys = _profile_keys(environ)
    if keys is not None:
        return keys
    soap_only = environ.get("EC2_PRIVATE_KEY") or environ.get("EC2_CERT")
    raise ArgumentProblem(NO_SOAP if soap_only else NO_KEYS)


def parse_endpoint(url: str) -> Endpoint:
    """Take an http or https URL apart. Raises ArgumentProblem."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise ArgumentProblem(f"Not an http or https URL: '{url}' (-h for usage)")
    tls = scheme.lower() == "https"
    authority, slash, path = rest.partition("/")
    authority = authority.rpartition("@")[2]
    if authority.startswith("["):
        host, _, after = authority[1:].partition("]")
        port_text = after.removeprefix(":")
    else:
        host, _, port_text = authority.partition(":")
    if not host or (port_text and not port_text.isdecimal()):
        raise ArgumentProblem(f"Not an http or https URL: '{url}' (-h for usage)")
    path = (slash + path).partition("?")[0].partition("#")[0]
    return Endpoint(url, tls, host, int(port_text or (443 if tls else 80)), authority, path or "/")


def is_amazon(host: str) -> bool:
    """Whether a host is one of Amazon's service endpoints."""
    name = host.lower().rstrip(".")
    return any(name == domain or name.endswith("." + domain) for domain in AMAZON)


def region_path(path: str, region: str) -> str:
    """`path` with `/region/NAME/` at its end, in place of one that is there."""
    before, found, _ = path.partition("/region/")
    return f"{(before if found else path).rstrip('/')}/region/{region}/"


def _first(environ: "dict[str, str]", names: "tuple[str, ...]") -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def _profile_keys(environ: "dict[str, str]") -> "Keys | None":
    """The keys of AWS_PROFILE in the shared credentials file, only when a profile is named."""
    profile = environ.get("AWS_PROFILE")
    if not profile:
        return None
    import configparser
    import os

    file = environ.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.expanduser("~/.aws/credentials")
    parser = configparser.RawConfigParser()
    parser.read(file)
    if not parser.has_section(profile):
        raise ArgumentProblem(f"No profile '{profile}' in '{file}' (-h for usage)")
    section = parser[profile]
    access, secret = section.get("aws_access_key_id", ""), section.get("aws_secret_access_key", "")
    return Keys(access, secret, section.get("aws_session_token", "")) if access and secret else None
