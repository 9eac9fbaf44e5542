"""NextToken and MaxResults: a long answer in parts.

Without them everything is answered, in its natural order. With them items come by id, and a token names the
last one given: what is made or deleted between two pages makes no other item appear twice or never.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from stockade.api.aws.wire.faults import Fault

SMALLEST, LARGEST = 5, 1000


def page(items: Sequence[dict[str, Any]], given: Mapping[str, Any], key: str, answer: str) -> dict[str, Any]:
    """The asked part of the items under the member `answer`, with NextToken when there is more."""
    size, token = given.get("MaxResults"), given.get("NextToken")
    if size is None and not token:
        return {answer: list(items)}
    if size is not None and size < SMALLEST:
        said = f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value greater than or equal to 5."
        raise Fault("InvalidParameterValue", said)
    after = _last_of(token) if token else ""
    rest = sorted((item for item in items if str(item[key]) > after), key=lambda item: str(item[key]))
    shown = rest[: min(size or LARGEST, LARGEST)]
    result: dict[str, Any] = {answer: shown}
    if len(shown) < len(rest):
        result["NextToken"] = urlsafe_b64encode(f"1:{shown[-1][key]}".encode()).decode()
    return result


def refuse_with(given: Mapping[str, Any], ids: str, parameter: str) -> None:
    """EC2 does not page an answer whose items were named."""
    if given.get(ids) and given.get("MaxResults") is not None:
        said = f"The parameter {parameter} cannot be used with the parameter maxResults"
        raise Fault("InvalidParameterCombination", said)


def _last_of(token: str) -> str:
    try:
        version, _, last = urlsafe_b64decode(token.encode()).decode().partition(":")
    except ValueError:
        version, last = "", ""
    if version != "1":
        raise Fault("InvalidParameterValue", "Unable to parse pagination token")
    return last
