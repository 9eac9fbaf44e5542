"""Filter.N -> which items stay. Items are answers' members, so a filter sees what the caller would see.

A table gives, for each filter's name, the values an item has for it. An item passes a filter when one of
its values matches one of the filter's, with * and ? as in EC2; it stays when it passes them all.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from stockade.api.aws.wire.faults import Fault

Item: TypeAlias = Mapping[str, Any]
Values: TypeAlias = Callable[[Item], Iterable[Any]]
Table: TypeAlias = Mapping[str, Values]


def keep(items: Iterable[dict[str, Any]], filters: Sequence[Item] | None, table: Table) -> list[dict[str, Any]]:
    """The items that pass all filters; raises Fault for a filter that EC2 or we do not have.

    `tag:KEY` and `tag-key` (and the older `tag-value`) read the item's own Tags.
    """
    kept = list(items)
    for one in filters or ():
        name = one.get("Name")
        if not name:
            raise Fault("MissingParameter", "The request must contain the parameter Filter.Name")
        wanted = one.get("Values")
        if not wanted:
            raise Fault("MissingParameter", f"The request must contain values for the filter '{name}'")
        values = _tag_values(name) or table.get(name)
        if values is None:
            raise Fault("InvalidParameterValue", f"The filter '{name}' is invalid")
        patterns = [_pattern(text) for text in wanted]
        kept = [item for item in kept if _matches(values(item), patterns)]
    return kept


def member(*path: str) -> Values:
    """The values at a path of members; lists on the way are walked through, booleans spelled as in XML."""

    def values(item: Item) -> Iterable[Any]:
        found: list[Any] = [item]
        for step in path:
            found = [below for one in found if (below := one.get(step)) is not None]
            found = [leaf for one in found for leaf in (one if isinstance(one, list) else [one])]
        return found

    return values


def _matches(values: Iterable[Any], patterns: Sequence[re.Pattern[str]]) -> bool:
    texts = [_text(value) for value in values]
    return any(pattern.fullmatch(text) for text in texts for pattern in patterns)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[str]:
    parts = re.split(r"(\\.|\*|\?)", text, flags=re.DOTALL)
    spelled = {"*": ".*", "?": "."}
    made = "".join(spelled.get(part) or re.escape(part[1:] if part.startswith("\\") else part) for part in parts)
    return re.compile(made, re.DOTALL)


def _tag_values(name: str) -> Values | None:
    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda item: [tag["Value"] for tag in item.get("Tags", ()) if tag["Key"] == key]
    return {"tag-key": member("Tags", "Key"), "tag-value": member("Tags", "Value")}.get(name)
