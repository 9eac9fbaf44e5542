"""A launch: what RunInstances asks becomes instances, interfaces and claims, in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

from stockade.model import keys
from stockade.model.account import KeyPair
from stockade.model.addresses import mac_of
from stockade.model.change import Revision
from stockade.model.errors import (
    AddressesExhausted,
    GroupNotFound,
    KeyPairNotFound,
    ParameterInvalid,
    ParametersConflict,
    QuotaExceeded,
    RegionNotFound,
    SubnetNotFound,
    TokenReused,
    ZoneNotFound,
)
from stockade.model.ids import InstanceId, NetworkInterfaceId, ReservationId, SubnetId, check_id
from stockade.model.instance import Instance, Wanted
from stockade.model.network_interface import NetworkInterface
from stockade.model.resources import Change, put
from stockade.model.security_group import DEFAULT_NAME, SecurityGroup
from stockade.model.tag import TagSet
from stockade.model.tracking import DEFAULT_TRACKING, ConnectionTracking, check_tracking
from stockade.model.vpc import Subnet, Vpc
from stockade.service import network_interfaces
from stockade.service.addresses import Addresses, usable
from stockade.service.budgets import Planned
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision
from stockade.service.images import find_image
from stockade.service.ipv6 import addresses_of
from stockade.service.numbers import INTERFACE
from stockade.service.security_groups import GroupRef, SecurityGroups
from stockade.service.tags import check_tags
from stockade.store.contract import AtRevision, Exists, Guard

LONGEST_TOKEN = 64
MOST_IPV6 = 15
LONGEST_USER_DATA = 16 * 1024


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What RunInstances asks. Without groups: the default group; without a key: the account's default key."""

    image: str
    min_count: int = 1
    max_count: int = 1
    groups: tuple[GroupRef, ...] = ()
    key_name: str | None = None
    user_data: bytes | None = None
    type: str = "m1.small"
    zone: str | None = None
    subnet: str | None = None
    private_address: IPv4Address | None = None
    ipv6_count: int | None = None
    """None: one if the subnet has IPv6."""
    ipv6: tuple[IPv6Address, ...] = ()
    associate_public: bool | None = None
    """None: as the subnet does."""
    tracking: ConnectionTracking = DEFAULT_TRACKING
    client_token: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a launch goes. `subnet` None: the classic network."""

    vpc: Vpc
    subnet: Subnet | None
    zone: str

    @property
    def has_public(self) -> bool:
        return self.subnet is None or self.subnet.is_default


class Launches:
    """Decides launches. Takes at most `max_count` interface numbers."""

    def __init__(self, cell: Cell, groups: SecurityGroups, addresses: Addresses) -> None:
        self._cell = cell
        self._groups = groups
        self._addresses = addresses

    def decide(self, caller: Caller, request: LaunchRequest) -> Decision[tuple[Instance, ...]]:
        """The launch, or the one that the client token already made."""
        _check_form(request)
        before = self._launched(caller, request)
        if before:
            return Decision([], [], before)
        place = self._place(caller, request)
        groups = self._member_of(caller, request, place.vpc)
        pair = self._key_pair(caller, request)
        image = find_image(self._cell.resources, self._cell.settings, request.image)
        count = self._count(caller, request)
        addresses, publics = self._find_addresses(request, place, count)

        reservation = ReservationId(self._cell.mint("r", caller.account))
        guards: list[Guard] = [] if pair is None else [Exists(put(pair).key)]
        changes: list[Change] = []
        instances, interfaces = [], []
        for index, address in enumerate(addresses):
            instance = Instance(
                id=InstanceId(self._cell.mint("i", caller.account)),
                account=caller.account.id,
                reservation=reservation,
                region=caller.region,
                zone=place.zone,
                host=self._cell.host,
                image=image.id,
                recipe=image.recipe,
                type=request.type,
                key_name=pair.name if pair else None,
                public_key=pair.public_key if pair else None,
                user_data=request.user_data,
                launch_index=index,
                launch_time=self._cell.now(),
                interface=NetworkInterfaceId(self._cell.mint("eni", caller.account)),
                client_token=request.client_token,
                groups_at_launch=tuple((group.id, group.name) for group in groups),
            )
            interface = self._interface(request, instance, place, address, publics[index] if publics else None)
            guards += network_interfaces.guards_of_new(interface)
            changes += [put(instance), *network_interfaces.created(interface)]
            if request.tags:
                changes.append(put(TagSet(instance.id, caller.account.id, dict(request.tags))))
            instances.append(instance)
            interfaces.append(interface)
        self._cell.budgets.check(Planned(coming=interfaces))
        if request.client_token:
            token = keys.client_token(caller.account.id, caller.region, request.client_token)
            guards.append(AtRevision(token, Revision(0)))
            changes.append(Change(token, reservation))
        return Decision(list(dict.fromkeys(guards)), changes, tuple(instances))

    def _interface(
        self,
        request: LaunchRequest,
        instance: Instance,
        place: _Place,
        address: IPv4Address,
        public: IPv4Address | None,
    ) -> NetworkInterface:
        number = self._cell.numbers.take(INTERFACE)
        return NetworkInterface(
            id=instance.interface,
            number=number,
            account=instance.account,
            vpc=place.vpc.id,
            subnet=place.subnet.id if place.subnet else None,
            host=instance.host,
            mac=mac_of(number),
            addresses=(address, *self._ipv6(request, place, number)),
            groups=tuple(id for id, _ in instance.groups_at_launch),
            public=public,
            instance=instance.id,
            tracking=request.tracking,
        )

    def _ipv6(self, request: LaunchRequest, place: _Place, number: int) -> tuple[IPv6Address, ...]:
        """The addresses asked for, or as many as are; by default one where the subnet has a block."""
        block = place.subnet.ipv6 if place.subnet else None
        count = request.ipv6_count if request.ipv6_count is not None else int(block is not None)
        if block is None:
            if count or request.ipv6:
                raise ParametersConflict("The subnet has no IPv6 CIDR block: it cannot give IPv6 addresses.")
            return ()
        claims = self._cell.resources.claims
        if not request.ipv6:
            return tuple(islice(addresses_of(block, number, claims, place.vpc.id), count))
        for address in request.ipv6:
            if address not in block or address == block.network_address:
                raise ParameterInvalid("ipv6Addresses", str(address), "Address does not fall within the subnet")
            if keys.private_address(place.vpc.id, address) in claims:
                raise ParameterInvalid("ipv6Addresses", str(address), "Address is in use")
        return request.ipv6

    def _launched(self, caller: Caller, request: LaunchRequest) -> tuple[Instance, ...]:
        """The instances that this client token launched before. Raises TokenReused if it asked for others."""
        if not request.client_token:
            return ()
        resources = self._cell.resources
        key = keys.client_token(caller.account.id, caller.region, request.client_token)
        reservation = resources.claims.get(key)
        if reservation is None:
            return ()
        found = tuple(i for i in resources.instances_of(caller.account.id) if i.reservation == reservation)
        same = found and all(i.image == request.image and i.type == request.type for i in found)
        if not same or not len(found) <= request.max_count:
            raise TokenReused(request.client_token)
        return found

    def _place(self, caller: Caller, request: LaunchRequest) -> _Place:
        zones = self._cell.settings.regions.get(caller.region)
        if not zones:
            raise RegionNotFound(caller.region)
        if request.zone is not None and request.zone not in zones:
            raise ZoneNotFound(request.zone)
        resources = self._cell.resources
        if request.subnet is not None:
            subnet = resources.subnets.get(SubnetId(check_id(request.subnet, "subnet")))
            if subnet is None or subnet.account != caller.account.id or subnet.zone not in zones:
                raise SubnetNotFound(request.subnet)
            if request.zone not in (None, subnet.zone):
                raise ParametersConflict(f"The subnet {subnet.id} is not in the zone {request.zone}")
            return _Place(resources.vpcs[subnet.vpc], subnet, subnet.zone)
        vpc = self._groups.vpc_of(caller, None)
        if vpc.is_classic:
            return _Place(vpc, None, request.zone or zones[0])
        own = [subnet for subnet in resources.subnets.values() if subnet.vpc == vpc.id and subnet.is_default]
        fitting = sorted((s for s in own if request.zone in (None, s.zone)), key=lambda s: s.cidr)
        if not fitting:
            raise ParametersConflict(f"No default subnet for availability zone: '{request.zone or caller.region}'")
        return _Place(vpc, fitting[0], fitting[0].zone)

    def _member_of(self, caller: Caller, request: LaunchRequest, vpc: Vpc) -> list[SecurityGroup]:
        """The groups, each once, all of the network that the launch goes to."""
        if not (vpc.is_classic or vpc.is_default) and any(ref.id is None for ref in request.groups):
            raise ParametersConflict("The parameter groupName cannot be used with the parameter subnet")
        refs = request.groups or (GroupRef(name=DEFAULT_NAME, vpc=None if vpc.is_classic else vpc.id),)
        groups = {group.id: group for group in (self._groups.find(caller, ref) for ref in refs)}
        for group in groups.values():
            if group.vpc != vpc.id:
                raise GroupNotFound(group.id, None if vpc.is_classic else vpc.id)
        limit = self._cell.settings.quotas.groups_per_interface
        if len(groups) > limit and not vpc.is_classic:
            raise QuotaExceeded("groups_per_interface", limit, len(groups), 0)
        return list(groups.values())

    def _key_pair(self, caller: Caller, request: LaunchRequest) -> KeyPair | None:
        name = request.key_name or caller.account.default_key
        if name is None:
            return None
        pair = self._cell.resources.key_pairs.get(keys.key_pair(caller.account.id, caller.region, name))
        if pair is None and request.key_name is not None:
            raise KeyPairNotFound(name)
        return pair

    def _count(self, caller: Caller, request: LaunchRequest) -> int:
        """As many as the quota allows, if that is enough."""
        resources = self._cell.resources
        present = [i for i in resources.instances_of(caller.account.id) if i.region == caller.region]
        have = sum(i.wanted is Wanted.RUNNING and i.terminated_at is None for i in present)
        limit = self._cell.settings.quotas.instances
        if have + request.min_count > limit:
            raise QuotaExceeded("instances", limit, request.min_count, have)
        return min(request.max_count, limit - have)

    def _find_addresses(
        self, request: LaunchRequest, place: _Place, count: int
    ) -> tuple[list[IPv4Address], list[IPv4Address]]:
        """Private and public addresses, equally many unless the place has no public ones."""
        if request.private_address is None:
            private = self._addresses.private(place.vpc, place.subnet, count)
        else:
            private = [self._check_chosen(request.private_address, request, place)]
        wanted = place.has_public if request.associate_public is None else request.associate_public
        public = self._addresses.public(self._cell.settings.public_pool, len(private)) if wanted else []
        enough = min(len(private), len(public) if wanted else len(private))
        if enough < request.min_count:
            short_of = self._cell.settings.public_pool if enough < len(private) else place.vpc.cidr
            raise AddressesExhausted(str(short_of))
        return private[:enough], public[:enough]

    def _check_chosen(self, address: IPv4Address, request: LaunchRequest, place: _Place) -> IPv4Address:
        if place.subnet is None or request.subnet is None:
            raise ParametersConflict("The parameter privateIpAddress may only be used with the parameter subnet")
        if request.max_count != 1:
            raise ParametersConflict("The parameter privateIpAddress cannot be used when launching several instances")
        if int(address) not in usable(place.subnet.cidr):
            raise ParameterInvalid("privateIpAddress", str(address), "Address does not fall within the subnet")
        if keys.private_address(place.vpc.id, address) in self._cell.resources.claims:
            raise ParameterInvalid("privateIpAddress", str(address), "Address is in use")
        return address


def _check_form(request: LaunchRequest) -> None:
    """Raises what is wrong whatever the state."""
    if request.min_count < 1:
        raise ParameterInvalid("minCount", str(request.min_count), "Value must be at least 1")
    if request.max_count < request.min_count:
        raise ParametersConflict("minCount must not be greater than maxCount")
    if request.ipv6 and (request.ipv6_count is not None or request.max_count != 1):
        raise ParametersConflict("Chosen IPv6 addresses go with neither a count of them nor several instances")
    if request.ipv6_count is not None and not 0 <= request.ipv6_count <= MOST_IPV6:
        raise ParameterInvalid("ipv6AddressCount", str(request.ipv6_count), f"At most {MOST_IPV6} for an interface.")
    check_tracking(request.tracking)
    if request.client_token is not None and len(request.client_token) > LONGEST_TOKEN:
        raise ParameterInvalid("clientToken", request.client_token, "at most 64 characters")
    if request.user_data is not None and len(request.user_data) > LONGEST_USER_DATA:
        raise ParameterInvalid("userData", f"{len(request.user_data)} bytes", "User data is limited to 16384 bytes")
    if not request.type.isascii() or not request.type.isprintable() or not 0 < len(request.type) <= 64:
        raise ParameterInvalid("instanceType", request.type)
    check_tags(request.tags)
