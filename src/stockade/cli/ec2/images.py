"""Machine images: ec2-describe-images."""

from stockade.cli.ec2 import records
from stockade.cli.ec2.connection import Service, numbered
from stockade.cli.ec2.options import Arguments, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from stockade.cli.ec2.answer import Node
    from stockade.cli.ec2.records import Record


def describe_images(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """Images: those named, all with -a, else one's own and those one was given."""
    ids = numbered("ImageId", arguments.parameters)
    owners, users = arguments.many("owner"), arguments.many("executable-by")
    filters = numbered("Owner", owners) | numbered("ExecutableBy", users)
    if arguments.has("all") or arguments.parameters or filters:
        return [records.image(item, service.version) for item in _images(service, ids | filters)]
    found = {item.text("imageId"): item for item in _images(service, {"Owner.1": "self"})}
    for item in _images(service, {"ExecutableBy.1": "self"}):
        found.setdefault(item.text("imageId"), item)
    return [records.image(item, service.version) for item in found.values()]


def _images(service: Service, fields: "dict[str, str]") -> "list[Node]":
    return list(service.call("DescribeImages", fields).items("imagesSet"))


DESCRIBE_IMAGES = Command(
    "Describes machine images.",
    "[AMI...]",
    [
        Option("-a", "--all", "", "every image you may launch"),
        Option("-o", "--owner", "OWNER", "only images of an account, or `self`", many=True),
        Option("-x", "--executable-by", "USER", "only images that an account, `self` or `all` may launch", many=True),
    ],
    describe_images,
)
