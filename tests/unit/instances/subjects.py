"""Instances that the tests of the metadata service and the services ask for."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from stockade.instances.network.items import Subject
from stockade.instances.network.names import Names
from stockade.model.addresses import mac_of
from stockade.model.host_view import ViewInstance, ViewInterface
from stockade.model.ids import AccountId, InstanceId, NetworkInterfaceId, SecurityGroupId

GROUP = SecurityGroupId("sg-01000001")
ACCOUNT = AccountId("111122223333")


def interface(number: int = 1, **changes: Any) -> ViewInterface:
    made = ViewInterface(
        id=NetworkInterfaceId(f"eni-{0x01000000 + number:08x}"),
        number=number,
        account=ACCOUNT,
        vpc=1,
        classic=True,
        network=IPv4Network("10.0.0.0/8"),
        mac=mac_of(number),
        addresses=(IPv4Address("10.0.0.0") + number,),
        groups=(GROUP,),
        public=IPv4Address("198.18.0.0") + number,
        source_dest_check=True,
        instance=InstanceId(f"i-{0x01000000 + number:08x}"),
    )
    return replace(made, **changes)


def instance(number: int = 1, **changes: Any) -> ViewInstance:
    made = ViewInstance(
        id=InstanceId(f"i-{0x01000000 + number:08x}"),
        account=ACCOUNT,
        interface=NetworkInterfaceId(f"eni-{0x01000000 + number:08x}"),
        running=True,
        image="ami-eca54085",
        recipe="micro",
        type="m1.small",
        zone="us-east-1a",
        region="us-east-1",
        reservation="r-01000001",
        launch_index=0,
        key_name="mine",
        public_key="ssh-ed25519 AAAA mine\n",
        user_data=b"#!/bin/sh\n",
        group_names=("default",),
    )
    return replace(made, **changes)


def subject(number: int = 1, **changes: Any) -> Subject:
    made = Subject(instance(number), interface(number), Names(), {GROUP: "default"})
    return replace(made, **changes)
