"""Key pairs: ec2-add-keypair, ec2-describe-keypairs, ec2-delete-keypair."""

from stockade.cli.ec2.connection import Service, numbered
from stockade.cli.ec2.options import Arguments, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from stockade.cli.ec2.records import Record


def add_keypair(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """Create a key pair; the lines after the record are its private key, shown this once."""
    answer = service.call("CreateKeyPair", {"KeyName": arguments.parameters[0]})
    material = answer.text("keyMaterial").splitlines()
    return [["KEYPAIR", answer.text("keyName"), answer.text("keyFingerprint")], *([line] for line in material)]


def describe_keypairs(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """Key pairs and their fingerprints."""
    answer = service.call("DescribeKeyPairs", numbered("KeyName", arguments.parameters))
    return [["KEYPAIR", item.text("keyName"), item.text("keyFingerprint")] for item in answer.items("keySet")]


def delete_keypair(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """Delete a key pair."""
    name = arguments.parameters[0]
    service.call("DeleteKeyPair", {"KeyName": name})
    return [["KEYPAIR", name]]


ADD_KEYPAIR = Command("Creates a key pair and prints its private key.", "KEY", [], add_keypair)
DESCRIBE_KEYPAIRS = Command("Describes key pairs.", "[KEY...]", [], describe_keypairs)
DELETE_KEYPAIR = Command("Deletes a key pair.", "KEY", [], delete_keypair)
