"""The DNS names of instances, as EC2 spells them."""

from stockade.model.addresses import Address

_FIRST_REGION = "us-east-1"  # the one whose names do not say the region


def public_name(address: Address, region: str, suffix: str) -> str:
    """ec2-198-18-0-7.compute-1.SUFFIX, or ec2-198-18-0-7.REGION.compute.SUFFIX in all other regions."""
    middle = "compute-1" if region == _FIRST_REGION else f"{region}.compute"
    return f"ec2-{_dashed(address)}.{middle}.{suffix}"


def private_name(address: Address, suffix: str) -> str:
    """ip-10-0-0-7.SUFFIX"""
    return f"ip-{_dashed(address)}.{suffix}"


def _dashed(address: Address) -> str:
    return str(address).replace(".", "-").replace(":", "-")
