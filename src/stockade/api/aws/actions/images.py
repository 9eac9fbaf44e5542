"""DescribeImages."""

from typing import Any

from stockade.api.aws.actions import tags
from stockade.api.aws.actions.filters import Table, keep, member
from stockade.api.aws.actions.pages import page, refuse_with
from stockade.api.aws.registry import Asked, action
from stockade.model.image import Image

_FILTERS: Table = {
    "architecture": member("Architecture"),
    "description": member("Description"),
    "hypervisor": member("Hypervisor"),
    "image-id": member("ImageId"),
    "image-type": member("ImageType"),
    "is-public": member("Public"),
    "manifest-location": member("ImageLocation"),
    "name": member("Name"),
    "owner-id": member("OwnerId"),
    "root-device-type": member("RootDeviceType"),
    "state": member("State"),
    "virtualization-type": member("VirtualizationType"),
}
_AMAZON = ("amazon", "aws-marketplace")  # owners by alias; nothing here is theirs


@action(
    "DescribeImages",
    reads=("ImageIds", "Owners", "ExecutableUsers", "Filters", "MaxResults", "NextToken"),
    inert=("IncludeDeprecated", "IncludeDisabled"),
)
async def describe_images(asked: Asked) -> dict[str, Any]:
    given = asked.input
    refuse_with(given, "ImageIds", "imagesSet")
    found = await asked.services.images.describe(asked.caller, given.get("ImageIds", ()))
    chosen = [image for image in found if _owned(asked, image) and _executable(asked, image)]
    return page(keep((_shown(asked, image) for image in chosen), given.get("Filters"), _FILTERS), given, "ImageId",
                "Images")  # fmt: skip


def _owned(asked: Asked, image: Image) -> bool:
    owners = asked.input.get("Owners")
    if not owners:
        return True
    mine = asked.caller.account.id
    return image.owner in {mine if owner == "self" else owner for owner in owners if owner not in _AMAZON}


def _executable(asked: Asked, image: Image) -> bool:
    """`all`: public launch permission. No image here has permissions for single accounts."""
    users = asked.input.get("ExecutableUsers")
    if not users:
        return True
    mine = asked.caller.account.id
    return ("all" in users and image.is_public) or (image.owner == mine and ("self" in users or mine in users))


def _shown(asked: Asked, image: Image) -> dict[str, Any]:
    return {
        "ImageId": image.id,
        "ImageLocation": image.location,
        "State": "available",
        "OwnerId": image.owner,
        "Public": image.is_public,
        "ProductCodes": [],
        "Architecture": image.architecture,
        "ImageType": "machine",
        "Name": image.name,
        "Description": image.description,
        "RootDeviceType": "instance-store",
        "BlockDeviceMappings": [],
        "VirtualizationType": "paravirtual",
        "Hypervisor": "xen",
        "PlatformDetails": "Linux/UNIX",
        "Tags": tags.shown(asked.services.tags.of(image.id)),
    }
