"""`stockade account`: who may call."""

from pathlib import Path

from stockade.cli.stockade.connection import credentials, native
from stockade.cli.stockade.environment import lines, variables
from stockade.cli.stockade.refusals import accepted
from stockade.cli.stockade.tables import print_json, print_table
from stockade.daemon.problems import USAGE, Problem
from stockade.daemon.site import Credentials


def create(
    id: str | None, name: str | None, *, platform: str, key: Path | None, shell: str | None, as_json: bool
) -> int:
    """An account with an access key, printed once; the secret is not shown again."""
    if platform not in ("vpc", "classic"):
        raise Problem(f"--platform must be vpc or classic, not {platform!r}", code=USAGE)
    wanted = {"platform": platform}
    if id is not None:
        wanted["id"] = id
    if name is not None:
        wanted["name"] = name
    if key is not None:
        wanted["key"] = _public_key(key)
    admin = credentials()
    made = accepted(native(admin, "POST", "accounts", wanted)).document
    keys = made["access_key_id"], made["secret_access_key"]
    caller = Credentials(admin.endpoint, *keys, account=made["account_id"], region=admin.region)
    if shell is not None:
        for line in lines(variables(caller), shell):
            print(line)
    elif as_json:
        print_json(made)
    else:
        print(f"account     {caller.account}  {made['name'] or '-'}  {made['platform']}")
        print(f"access key  {caller.access_key}")
        print(f"secret key  {caller.secret_key}")
    return 0


def list_all(as_json: bool, quiet: bool, headers: bool) -> int:
    """Every account."""
    document = accepted(native(credentials(), "GET", "accounts")).document
    found = document["accounts"]
    if as_json:
        print_json({"accounts": found})
    elif quiet:
        print(*(account["account_id"] for account in found), sep="\n")
    else:
        rows = [(account["account_id"], account.get("name") or "-", account["platform"]) for account in found]
        print_table(("account", "name", "platform"), rows, headers)
    return 0


def _public_key(path: Path) -> str:
    """The public half, also when the private one was named."""
    public = path if path.suffix == ".pub" or not path.with_name(path.name + ".pub").exists() else None
    try:
        text = (public or path.with_name(path.name + ".pub")).read_text(encoding="utf-8").strip()
    except OSError as err:
        raise Problem(f"cannot read {path}", why=err.strerror or str(err), code=USAGE) from err
    if "PRIVATE KEY" in text:
        raise Problem(f"{path} is a private key", attempt=f"ssh-keygen -y -f {path} > {path}.pub", code=USAGE)
    return text
