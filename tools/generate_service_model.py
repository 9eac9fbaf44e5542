"""Writes src/stockade/api/aws/wire/*_model.json.gz from the installed botocore.

Run it after raising botocore's version: `python tools/generate_service_model.py`. The files hold names,
shapes and required members of every action, and no documentation. Form (see wire/service_model.py):

    {"namespace": ..., "actions": {name: [input, output]}, "shapes": {name: shape}}
    shape: "integer" (a scalar's kind) | {"l": member shape, "n": element name}
           | {"m": [[member, shape, element?, parameter?], ...], "r": [required members]}

The element is what responses call a member, the parameter what requests do; both are left out where the
protocol's rule gives them (element = member, parameter = element with a capital).
"""

import gzip
import json
from pathlib import Path
from typing import Any

import botocore

WIRE = Path(__file__).parent.parent / "src" / "stockade" / "api" / "aws" / "wire"
DATA = Path(botocore.__file__).parent / "data"
SERVICES = {"ec2": "2016-11-15", "sts": "2011-06-15"}


def capital(name: str) -> str:
    return name[0].upper() + name[1:]


def compact_shape(shape: dict[str, Any]) -> Any:
    """The shape without what neither parsing nor writing needs."""
    match shape["type"]:
        case "structure":
            members: list[list[str]] = []
            for name, member in shape.get("members", {}).items():
                element = member.get("locationName", name)
                parameter = member.get("queryName") or capital(element)
                row = [name, member["shape"]]
                if parameter != capital(element):
                    row += [element, parameter]
                elif element != name:
                    row += [element]
                members.append(row)
            kept: dict[str, Any] = {"m": members}
            if shape.get("required"):
                kept["r"] = shape["required"]
            return kept
        case "list":
            return {"l": shape["member"]["shape"], "n": shape["member"].get("locationName", "member")}
        case kind:
            return kind


def compact_model(model: dict[str, Any]) -> dict[str, Any]:
    """A botocore service description in the form the package ships."""
    return {
        "namespace": model["metadata"]["xmlNamespace"],
        "actions": {
            name: [operation.get("input", {}).get("shape"), operation.get("output", {}).get("shape")]
            for name, operation in sorted(model["operations"].items())
        },
        "shapes": {name: compact_shape(shape) for name, shape in sorted(model["shapes"].items())},
    }


def main() -> None:
    for service, version in SERVICES.items():
        source = gzip.decompress((DATA / service / version / "service-2.json.gz").read_bytes())
        text = json.dumps(compact_model(json.loads(source)), separators=(",", ":"))
        # mtime 0: the same botocore gives the same bytes, so a change in review means a change of the model.
        (WIRE / f"{service}_model.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
