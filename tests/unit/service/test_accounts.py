"""Accounts, key pairs, tags, networks and images."""

import asyncio
import hashlib
from base64 import b64decode
from ipaddress import IPv4Network

import pytest
from cryptography.hazmat.primitives import serialization

from stockade.model.account import Platform
from stockade.model.errors import (
    ImageNotFound,
    KeyPairDuplicate,
    KeyPairInvalid,
    KeyPairNotFound,
    ParameterInvalid,
    QuotaExceeded,
    RegionNotFound,
    ResourceNotFound,
    SubnetNotFound,
    VpcNotFound,
    ZoneNotFound,
)
from stockade.service.accounts import Accounts
from stockade.service.caller import Caller
from stockade.service.cell import Cell, CellSettings
from stockade.service.images import Images
from stockade.service.instances import Instances, LaunchRequest
from stockade.service.key_pairs import KeyPairs
from stockade.service.security_groups import GroupRef, SecurityGroups
from stockade.service.tags import Tag, Tags
from stockade.service.vpcs import Vpcs

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl someone"


class TestAccounts:
    async def test_a_key_finds_its_account_and_is_not_shaped_like_an_aws_key(self, cell: Cell) -> None:
        created = await Accounts(cell).create("one")
        assert Accounts(cell).find_key(created.key.id) == (created.account, created.key)
        assert Accounts(cell).find_key("AKIAIOSFODNN7EXAMPLE") is None
        assert not created.key.id.startswith(("AKIA", "ASIA"))
        assert len(created.account.id) == 12 and created.account.id.isdigit()

    @pytest.mark.parametrize("id", ["1", "12345678901a", "1" * 13, "000000000000"])
    async def test_an_account_id_has_twelve_digits_of_its_own(self, cell: Cell, id: str) -> None:
        with pytest.raises(ParameterInvalid):
            await Accounts(cell).create(id=id)

    async def test_an_account_id_is_given_once(self, cell: Cell, albert: Caller) -> None:
        with pytest.raises(ParameterInvalid):
            await Accounts(cell).create(id=albert.account.id)

    async def test_the_admin_is_made_once(self, cell: Cell) -> None:
        first = await Accounts(cell).ensure_admin()
        assert first.account.is_admin
        assert await Accounts(cell).ensure_admin() == first

    async def test_many_accounts_at_once_all_get_their_default_network(self, cell: Cell) -> None:
        created = await asyncio.gather(*(Accounts(cell).create(f"a{n}") for n in range(20)))
        networks = [cell.resources.default_vpc(each.account.id, "us-east-1") for each in created]
        assert len({vpc.number for vpc in networks if vpc}) == 20

    async def test_a_bad_default_key_makes_no_account(self, cell: Cell) -> None:
        before = len(Accounts(cell).all())
        with pytest.raises(KeyPairInvalid):
            await Accounts(cell).create(public_key="ssh-rsa nonsense")
        assert len(Accounts(cell).all()) == before

    async def test_accounts_find_their_networks_in_a_region_that_was_added_later(
        self, cell: Cell, albert: Caller, vera: Caller
    ) -> None:
        cell.settings = CellSettings(regions={**cell.settings.regions, "eu-west-1": ("eu-west-1a",)})
        await Vpcs(cell).ensure()
        for caller in (albert, vera):
            there = Caller(caller.account, "eu-west-1")
            assert [group.name for group in await SecurityGroups(cell).describe(there)] == ["default"]
        revision = cell.resources.revision
        await Vpcs(cell).ensure()
        assert cell.resources.revision == revision


class TestKeyPairs:
    async def test_a_created_rsa_key_is_fingerprinted_by_its_private_half(self, cell: Cell, vera: Caller) -> None:
        made = await KeyPairs(cell).create(vera, "mine")
        assert made.private_key.startswith("-----BEGIN RSA PRIVATE KEY-----")
        private = serialization.load_pem_private_key(made.private_key.encode(), None)
        der = private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        assert made.pair.fingerprint.replace(":", "") == hashlib.sha1(der).hexdigest()
        assert made.pair.public_key.split()[::2] == ["ssh-rsa", "mine"]
        assert made.private_key not in repr(cell.resources.key_pairs)

    async def test_a_created_ed25519_key_is_openssh_and_fingerprinted_as_openssh_does(
        self, cell: Cell, vera: Caller
    ) -> None:
        made = await KeyPairs(cell).create(vera, "mine", "ed25519")
        assert made.private_key.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
        blob = b64decode(made.pair.public_key.split()[1])
        assert b64decode(made.pair.fingerprint) == hashlib.sha256(blob).digest()

    async def test_an_imported_rsa_key_is_fingerprinted_by_its_public_half(self, cell: Cell, vera: Caller) -> None:
        pairs = KeyPairs(cell)
        made = await pairs.create(vera, "made")
        public = serialization.load_ssh_public_key(made.pair.public_key.encode())
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        for name, data in (("ssh", made.pair.public_key.encode()), ("pem", pem), ("der", der)):
            pair = await pairs.import_(vera, name, data)
            assert pair.fingerprint.replace(":", "") == hashlib.md5(der).hexdigest()
            assert pair.public_key.split()[:2] == made.pair.public_key.split()[:2]

    @pytest.mark.parametrize("key", [b"", b"ssh-rsa x", b"hello", b"-----BEGIN PUBLIC KEY-----\n", b"\xff\xfe"])
    async def test_what_is_no_key_is_refused(self, cell: Cell, vera: Caller, key: bytes) -> None:
        with pytest.raises(KeyPairInvalid):
            await KeyPairs(cell).import_(vera, "mine", key)

    async def test_a_name_is_taken_per_account_and_region(self, cell: Cell, vera: Caller, albert: Caller) -> None:
        pairs = KeyPairs(cell)
        await pairs.import_(vera, "mine", ED25519.encode())
        with pytest.raises(KeyPairDuplicate):
            await pairs.import_(vera, "mine", ED25519.encode())
        await pairs.import_(albert, "mine", ED25519.encode())
        await pairs.import_(Caller(vera.account, "eu-west-1"), "mine", ED25519.encode())
        assert [pair.name for pair in await pairs.describe(vera)] == ["mine"]

    async def test_deleting_is_quiet_about_what_is_not_there(self, cell: Cell, vera: Caller) -> None:
        pairs = KeyPairs(cell)
        pair = await pairs.import_(vera, "mine", ED25519.encode())
        assert await pairs.delete(vera, "nosuch") is None
        assert await pairs.delete(vera, id=pair.id) == pair
        with pytest.raises(KeyPairNotFound):
            await pairs.describe(vera, ["mine"])


class TestTags:
    async def test_tags_are_merged_listed_and_removed_by_key_or_by_value(self, cell: Cell, vera: Caller) -> None:
        tags = Tags(cell)
        group = SecurityGroups(cell).find(vera, GroupRef(name="default")).id
        await tags.create(vera, [group], {"a": "1", "b": "2"})
        await tags.create(vera, [group], {"b": "3", "c": ""})
        assert tags.of(group) == {"a": "1", "b": "3", "c": ""}
        assert (await tags.describe(vera))[0] == Tag(group, "security-group", "a", "1")
        await tags.delete(vera, [group], {"a": None, "b": "2", "c": ""})
        assert tags.of(group) == {"b": "3"}
        await tags.delete(vera, [group], {})
        assert await tags.describe(vera) == []

    async def test_one_resource_that_is_not_ones_own_stops_them_all(
        self, cell: Cell, vera: Caller, albert: Caller
    ) -> None:
        mine = SecurityGroups(cell).find(vera, GroupRef(name="default")).id
        theirs = SecurityGroups(cell).find(albert, GroupRef(name="default")).id
        for bad in (theirs, "i-01000000", "nonsense", "sg-x/y", "ami-eca54085"):
            with pytest.raises(ResourceNotFound):
                await Tags(cell).create(vera, [mine, bad], {"a": "1"})
        assert Tags(cell).of(mine) == {}

    @pytest.mark.parametrize("tags", [{"aws:x": "1"}, {"": "1"}, {"x" * 128: "1"}, {"x": "1" * 256}])
    async def test_reserved_and_overlong_tags_are_refused(self, cell: Cell, vera: Caller, tags: dict[str, str]) -> None:
        group = SecurityGroups(cell).find(vera, GroupRef(name="default")).id
        with pytest.raises(ParameterInvalid):
            await Tags(cell).create(vera, [group], tags)

    async def test_a_resource_has_at_most_fifty(self, cell: Cell, vera: Caller) -> None:
        group = SecurityGroups(cell).find(vera, GroupRef(name="default")).id
        await Tags(cell).create(vera, [group], {str(n): "" for n in range(50)})
        with pytest.raises(QuotaExceeded):
            await Tags(cell).create(vera, [group], {"more": ""})

    async def test_tags_of_rules_and_key_pairs_have_their_kind(self, cell: Cell, vera: Caller) -> None:
        rule = SecurityGroups(cell).find(vera, GroupRef(name="default")).rules[0].id
        pair = await KeyPairs(cell).import_(vera, "mine", ED25519.encode())
        await Tags(cell).create(vera, [rule, pair.id], {"a": "1"})
        assert [tag.kind for tag in await Tags(cell).describe(vera)] == ["key-pair", "security-group-rule"]


class TestNetworks:
    async def test_a_vpc_account_has_a_default_vpc_with_a_subnet_per_zone(self, cell: Cell, vera: Caller) -> None:
        (vpc,) = await Vpcs(cell).describe(vera)
        assert (vpc.cidr, vpc.is_default) == (IPv4Network("172.31.0.0/16"), True)
        subnets = await Vpcs(cell).subnets(vera)
        assert [str(each.subnet.cidr) for each in subnets] == ["172.31.0.0/20", "172.31.16.0/20", "172.31.32.0/20"]
        assert [each.available for each in subnets] == [4091] * 3
        await Instances(cell).run(vera, LaunchRequest("ami-eca54085", 2, 2))
        assert [each.available for each in await Vpcs(cell).subnets(vera)] == [4089, 4091, 4091]

    async def test_a_classic_account_has_none(self, cell: Cell, albert: Caller) -> None:
        assert await Vpcs(cell).describe(albert) == []
        assert await Vpcs(cell).subnets(albert) == []

    async def test_others_networks_are_not_found(self, cell: Cell, albert: Caller, vera: Caller) -> None:
        (vpc,) = await Vpcs(cell).describe(vera)
        subnet = (await Vpcs(cell).subnets(vera))[0].subnet
        with pytest.raises(VpcNotFound):
            await Vpcs(cell).describe(albert, [vpc.id])
        with pytest.raises(SubnetNotFound):
            await Vpcs(cell).subnets(albert, [subnet.id])

    async def test_zones_and_regions_are_the_settings(self, cell: Cell, vera: Caller) -> None:
        assert [zone.name for zone in await Vpcs(cell).zones(vera)] == ["us-east-1a", "us-east-1b", "us-east-1c"]
        assert await Vpcs(cell).regions(vera) == ["us-east-1"]
        with pytest.raises(ZoneNotFound):
            await Vpcs(cell).zones(vera, ["mars-1a"])
        with pytest.raises(RegionNotFound):
            await Vpcs(cell).regions(vera, ["mars-1"])


class TestImages:
    async def test_the_walk_throughs_images_are_there(self, cell: Cell, albert: Caller) -> None:
        found = {image.id: image.recipe for image in await Images(cell).describe(albert)}
        assert (
            found.items()
            >= {
                "ami-eca54085": "micro",
                "ami-fba54092": "web",
                "ami-e3a5408a": "app",
                "ami-f1a54098": "database",
            }.items()
        )

    async def test_unknown_images_are_refused_unless_the_settings_serve_them(self, cell: Cell, albert: Caller) -> None:
        with pytest.raises(ImageNotFound):
            await Images(cell).describe(albert, ["ami-12345678"])
        cell.settings = CellSettings(image_alias={"ami-12345678": "web"}, image_unknown="base")
        found = await Images(cell).describe(albert, ["ami-12345678", "ami-87654321"])
        assert [(image.id, image.recipe) for image in found] == [("ami-12345678", "web"), ("ami-87654321", "base")]
        launched = await Instances(cell).run(albert, LaunchRequest("ami-12345678"))
        assert (launched.instances[0].instance.image, launched.instances[0].instance.recipe) == ("ami-12345678", "web")


async def test_a_vpc_and_a_classic_account_differ_in_the_form_of_their_ids(
    cell: Cell, albert: Caller, vera: Caller
) -> None:
    assert (albert.account.platform, vera.account.platform) == (Platform.CLASSIC, Platform.VPC)
    for caller, digits in ((albert, 8), (vera, 17)):
        made = await Instances(cell).run(caller, LaunchRequest("ami-eca54085"))
        assert len(made.instances[0].instance.id) == len("i-") + digits
        assert len(made.id) == len("r-") + digits
