"""CreateKeyPair, ImportKeyPair, DescribeKeyPairs, DeleteKeyPair."""

from typing import Any

from stockade.api.aws.actions import tags
from stockade.api.aws.actions.filters import Table, keep, member
from stockade.api.aws.registry import Asked, action
from stockade.api.aws.wire.faults import Fault
from stockade.model.account import KeyPair

_FILTERS: Table = {
    "fingerprint": member("KeyFingerprint"),
    "key-name": member("KeyName"),
    "key-pair-id": member("KeyPairId"),
}


@action("CreateKeyPair", reads=("KeyName", "KeyType", "KeyFormat", "TagSpecifications"))
async def create_key_pair(asked: Asked) -> dict[str, Any]:
    wanted = tags.specified(asked, "key-pair")
    kind = asked.input.get("KeyType", "rsa")
    if kind not in {"rsa", "ed25519"}:
        raise Fault("InvalidParameterValue", f"Value ({kind}) for parameter KeyType is invalid.")
    if asked.input.get("KeyFormat", "pem") != "pem":
        raise Fault("UnsupportedOperation", "Keys are made in the format pem only.")
    made = await asked.services.key_pairs.create(asked.caller, asked.input["KeyName"], kind)
    return await _tagged(asked, made.pair, wanted) | {"KeyMaterial": made.private_key}


@action("ImportKeyPair", reads=("KeyName", "PublicKeyMaterial", "TagSpecifications"))
async def import_key_pair(asked: Asked) -> dict[str, Any]:
    wanted = tags.specified(asked, "key-pair")
    material = asked.input["PublicKeyMaterial"]
    return await _tagged(asked, await asked.services.key_pairs.import_(asked.caller, asked.input["KeyName"], material),
                         wanted)  # fmt: skip


@action("DescribeKeyPairs", reads=("KeyNames", "KeyPairIds", "IncludePublicKey", "Filters"))
async def describe_key_pairs(asked: Asked) -> dict[str, Any]:
    given = asked.input
    found = await asked.services.key_pairs.describe(
        asked.caller, given.get("KeyNames", ()), given.get("KeyPairIds", ())
    )
    with_key = given.get("IncludePublicKey", False)
    items = [
        {
            **_named(pair),
            "KeyType": pair.kind,
            "PublicKey": pair.public_key if with_key else None,
            "Tags": tags.shown(asked.services.tags.of(pair.id)),
        }
        for pair in found
    ]
    return {"KeyPairs": keep(items, given.get("Filters"), _FILTERS)}


@action("DeleteKeyPair", reads=("KeyName", "KeyPairId"))
async def delete_key_pair(asked: Asked) -> dict[str, Any]:
    name, pair_id = asked.input.get("KeyName"), asked.input.get("KeyPairId")
    if not name and not pair_id:
        raise Fault("MissingParameter", "The request must contain the parameter KeyName or KeyPairId")
    gone = await asked.services.key_pairs.delete(asked.caller, name, pair_id)
    return {"Return": True, "KeyPairId": None if gone is None else gone.id}


def _named(pair: KeyPair) -> dict[str, Any]:
    return {"KeyPairId": pair.id, "KeyName": pair.name, "KeyFingerprint": pair.fingerprint}


async def _tagged(asked: Asked, pair: KeyPair, wanted: dict[str, str]) -> dict[str, Any]:
    if wanted:
        await asked.services.tags.create(asked.caller, [pair.id], wanted)
    return _named(pair) | {"Tags": tags.shown(wanted)}
