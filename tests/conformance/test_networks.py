"""IPv6 blocks, prefix lists and interfaces that run, as boto3 sees them."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from conformance.conftest import client
from serving import ControlPlane
from stockade.service.accounts import CreatedAccount

MICRO = "ami-eca54085"


def code_of(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def ask_to_cut(request: Any, **_: Any) -> None:
    request.headers["x-stockade-cut"] = "true"


def group(ec2: Any, name: str) -> str:
    return str(ec2.create_security_group(GroupName=name, Description="d")["GroupId"])


def launched(ec2: Any, **arguments: Any) -> Any:
    (instance,) = ec2.run_instances(ImageId=MICRO, MinCount=1, MaxCount=1, **arguments)["Instances"]
    return instance


class TestIpv6:
    def test_from_the_vpc_to_the_instance_and_back(self, ec2: Any) -> None:
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        outer = ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)["Ipv6CidrBlockAssociation"]
        (shown,) = ec2.describe_vpcs()["Vpcs"][0]["Ipv6CidrBlockAssociationSet"]
        assert shown["Ipv6CidrBlock"] == outer["Ipv6CidrBlock"]
        assert (shown["Ipv6CidrBlockState"], shown["AssociationId"]) == (
            {"State": "associated"},
            outer["AssociationId"],
        )
        block = outer["Ipv6CidrBlock"].replace("/56", "/64")
        inner = ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=block)["Ipv6CidrBlockAssociation"]
        six = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]
        assert six["AssignIpv6AddressOnCreation"]
        assert [one["Ipv6CidrBlock"] for one in six["Ipv6CidrBlockAssociationSet"]] == [block]
        assert code_of(ec2.disassociate_vpc_cidr_block, AssociationId=outer["AssociationId"]) == "DependencyViolation"

        instance = launched(ec2, SubnetId=subnet)
        (address,) = instance["NetworkInterfaces"][0]["Ipv6Addresses"]
        assert instance["Ipv6Address"] == address["Ipv6Address"]
        by_address = [{"Name": "ipv6-addresses.ipv6-address", "Values": [address["Ipv6Address"]]}]
        (interface,) = ec2.describe_network_interfaces(Filters=by_address)["NetworkInterfaces"]
        assert interface["Attachment"]["InstanceId"] == instance["InstanceId"]
        in_use = code_of(ec2.disassociate_subnet_cidr_block, AssociationId=inner["AssociationId"])
        assert in_use == "DependencyViolation"
        assert code_of(ec2.associate_vpc_cidr_block, VpcId=vpc, AmazonProvidedIpv6CidrBlock=True) == (
            "InvalidParameterValue"
        )

        new = ec2.describe_security_groups(GroupIds=[group(ec2, "new")])["SecurityGroups"][0]
        assert [(p["IpRanges"], p["Ipv6Ranges"]) for p in new["IpPermissionsEgress"]] == [
            ([{"CidrIp": "0.0.0.0/0"}], [{"CidrIpv6": "::/0"}])
        ]

    def test_rules_over_ipv6(self, ec2: Any) -> None:
        id = group(ec2, "six")
        rule = {"IpProtocol": "58", "FromPort": 128, "ToPort": -1}
        ec2.authorize_security_group_ingress(
            GroupId=id, IpPermissions=[rule | {"Ipv6Ranges": [{"CidrIpv6": "2001:DB8::1/32", "Description": "them"}]}]
        )
        (shown,) = ec2.describe_security_groups(GroupIds=[id])["SecurityGroups"][0]["IpPermissions"]
        assert (shown["IpProtocol"], shown["FromPort"], shown["ToPort"]) == ("icmpv6", 128, -1)
        assert shown["Ipv6Ranges"] == [{"CidrIpv6": "2001:db8::/32", "Description": "them"}]
        ec2.revoke_security_group_ingress(
            GroupId=id, IpPermissions=[rule | {"Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}]}]
        )
        assert ec2.describe_security_groups(GroupIds=[id])["SecurityGroups"][0]["IpPermissions"] == []

    def test_blocks_of_nobody_are_not_found(self, ec2: Any) -> None:
        assert code_of(ec2.disassociate_vpc_cidr_block, AssociationId="vpc-cidr-assoc-1") == (
            "InvalidVpcCidrBlockAssociationID.NotFound"
        )
        assert code_of(ec2.disassociate_subnet_cidr_block, AssociationId="subnet-cidr-assoc-1") == (
            "InvalidSubnetCidrBlockAssociationID.NotFound"
        )


class TestPrefixLists:
    def test_a_life(self, ec2: Any) -> None:
        made = ec2.create_managed_prefix_list(
            PrefixListName="office",
            AddressFamily="IPv4",
            MaxEntries=5,
            Entries=[{"Cidr": "198.51.100.7/24", "Description": "hq"}],
            TagSpecifications=[{"ResourceType": "prefix-list", "Tags": [{"Key": "a", "Value": "b"}]}],
        )["PrefixList"]
        id = made["PrefixListId"]
        assert (made["State"], made["Version"], made["Tags"]) == ("create-complete", 1, [{"Key": "a", "Value": "b"}])
        after = ec2.modify_managed_prefix_list(
            PrefixListId=id, CurrentVersion=1, AddEntries=[{"Cidr": "203.0.113.0/24"}]
        )["PrefixList"]
        assert (after["State"], after["Version"]) == ("modify-complete", 2)
        assert ec2.get_managed_prefix_list_entries(PrefixListId=id)["Entries"] == [
            {"Cidr": "198.51.100.0/24", "Description": "hq"},
            {"Cidr": "203.0.113.0/24"},
        ]
        old = ec2.get_managed_prefix_list_entries(PrefixListId=id, TargetVersion=1)["Entries"]
        assert [entry["Cidr"] for entry in old] == ["198.51.100.0/24"]
        tagged = [{"Name": "tag:a", "Values": ["b"]}]
        assert ec2.describe_managed_prefix_lists(Filters=tagged)["PrefixLists"] == [after]
        stale = code_of(
            ec2.modify_managed_prefix_list, PrefixListId=id, CurrentVersion=1, AddEntries=[{"Cidr": "10.0.0.0/8"}]
        )
        assert stale == "PrefixListVersionMismatch"

        web = group(ec2, "behind-list")
        rule = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "PrefixListIds": [{"PrefixListId": id}]}
        (new,) = ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=[rule])["SecurityGroupRules"]
        assert new["PrefixListId"] == id
        (shown,) = ec2.describe_security_groups(Filters=[{"Name": "ip-permission.prefix-list-id", "Values": [id]}])[
            "SecurityGroups"
        ]
        assert shown["IpPermissions"][0]["PrefixListIds"] == [{"PrefixListId": id}]
        assert code_of(ec2.delete_managed_prefix_list, PrefixListId=id) == "DependencyViolation"
        again = code_of(ec2.authorize_security_group_ingress, GroupId=web, IpPermissions=[rule])
        assert again == "InvalidPermission.Duplicate"
        revoked = ec2.revoke_security_group_ingress(GroupId=web, IpPermissions=[rule])["RevokedSecurityGroupRules"]
        assert [one["PrefixListId"] for one in revoked] == [id]
        assert ec2.delete_managed_prefix_list(PrefixListId=id)["PrefixList"]["State"] == "delete-complete"
        assert code_of(ec2.describe_managed_prefix_lists, PrefixListIds=[id]) == "InvalidPrefixListID.NotFound"
        assert code_of(ec2.describe_managed_prefix_lists, PrefixListIds=["pl-x"]) == "InvalidPrefixListId.Malformed"


class TestInterfaces:
    def test_groups_are_swapped_by_instance_and_by_interface(self, ec2: Any, plane: ControlPlane) -> None:
        web, app = group(ec2, "web"), group(ec2, "app")
        instance = launched(ec2, SecurityGroupIds=[web])
        id = instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
        ec2.modify_instance_attribute(InstanceId=instance["InstanceId"], Groups=[app])
        (shown,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[id])["NetworkInterfaces"]
        assert shown["Groups"] == [{"GroupId": app, "GroupName": "app"}]
        ec2.modify_network_interface_attribute(NetworkInterfaceId=id, Groups=[app, web])
        by_group = [{"Name": "group-name", "Values": ["we*"]}]
        assert [one["NetworkInterfaceId"] for one in ec2.describe_network_interfaces(Filters=by_group)[
            "NetworkInterfaces"]] == [id]  # fmt: skip
        found = ec2.describe_network_interface_attribute(NetworkInterfaceId=id, Attribute="groupSet")["Groups"]
        assert {one["GroupName"] for one in found} == {"app", "web"}
        many = [group(ec2, f"g{n}") for n in range(6)]
        too_many = code_of(ec2.modify_network_interface_attribute, NetworkInterfaceId=id, Groups=many)
        assert too_many == "SecurityGroupsPerInterfaceLimitExceeded"
        cuts = plane.world.cell.resources.interfaces[id].cuts
        ec2.meta.events.register("before-sign.ec2.*", ask_to_cut)
        ec2.modify_network_interface_attribute(NetworkInterfaceId=id, Groups=[web])
        assert plane.world.cell.resources.interfaces[id].cuts == cuts + 1

    def test_switches_and_timers(self, ec2: Any) -> None:
        instance = launched(ec2)
        id = instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
        ec2.modify_instance_attribute(InstanceId=instance["InstanceId"], SourceDestCheck={"Value": False})
        ec2.modify_network_interface_attribute(
            NetworkInterfaceId=id, ConnectionTrackingSpecification={"TcpEstablishedTimeout": 60, "UdpTimeout": 45}
        )
        (shown,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[id])["NetworkInterfaces"]
        assert not shown["SourceDestCheck"]
        assert shown["ConnectionTrackingConfiguration"] == {
            "TcpEstablishedTimeout": 60,
            "UdpStreamTimeout": 180,
            "UdpTimeout": 45,
        }
        ec2.modify_instance_attribute(InstanceId=instance["InstanceId"], Attribute="sourceDestCheck", Value="true")
        attribute = ec2.describe_network_interface_attribute(NetworkInterfaceId=id, Attribute="sourceDestCheck")
        assert attribute["SourceDestCheck"] == {"Value": True}

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            ({}, "InvalidParameterCombination"),
            ({"Groups": ["sg-01234567"], "SourceDestCheck": {"Value": True}}, "InvalidParameterCombination"),
            ({"Groups": ["sg-01234567"]}, "InvalidGroup.NotFound"),
            ({"Groups": []}, "InvalidParameterCombination"),
            ({"Groups": ["nonsense"]}, "InvalidGroupId.Malformed"),
            ({"ConnectionTrackingSpecification": {"UdpTimeout": 29}}, "InvalidParameterValue"),
            ({"Description": {"Value": "x"}}, "UnsupportedOperation"),
        ],
    )
    def test_what_cannot_be_changes_nothing(self, ec2: Any, arguments: dict[str, Any], code: str) -> None:
        id = launched(ec2)["NetworkInterfaces"][0]["NetworkInterfaceId"]
        before = ec2.describe_network_interfaces(NetworkInterfaceIds=[id])["NetworkInterfaces"]
        assert code_of(ec2.modify_network_interface_attribute, NetworkInterfaceId=id, **arguments) == code
        assert ec2.describe_network_interfaces(NetworkInterfaceIds=[id])["NetworkInterfaces"] == before

    def test_who_is_not_there_is_not_found(self, ec2: Any) -> None:
        for id, code in (
            ("eni-01234567", "InvalidNetworkInterfaceID.NotFound"),
            ("x", "InvalidNetworkInterfaceID.Malformed"),
        ):
            assert code_of(ec2.describe_network_interfaces, NetworkInterfaceIds=[id]) == code
        absent = code_of(ec2.modify_instance_attribute, InstanceId="i-01234567", Groups=["sg-01234567"])
        assert absent == "InvalidInstanceID.NotFound"

    def test_on_classic_groups_are_fixed(self, plane: ControlPlane, albert: CreatedAccount) -> None:
        classic = client(plane, albert)
        instance = launched(classic)["InstanceId"]
        (default,) = classic.describe_security_groups()["SecurityGroups"]
        refused = code_of(classic.modify_instance_attribute, InstanceId=instance, Groups=[default["GroupId"]])
        assert refused == "UnsupportedInstanceAttribute"

    def test_a_launch_says_it_all_of_its_one_interface(self, ec2: Any) -> None:
        subnet = ec2.describe_subnets()["Subnets"][2]["SubnetId"]
        web = group(ec2, "of-interface")
        spelled = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [web], "AssociatePublicIpAddress": False,
                   "ConnectionTrackingSpecification": {"UdpTimeout": 60}, "DeleteOnTermination": True}  # fmt: skip
        (interface,) = launched(ec2, NetworkInterfaces=[spelled])["NetworkInterfaces"]
        assert (interface["SubnetId"], interface["Groups"][0]["GroupId"]) == (subnet, web)
        assert interface["ConnectionTrackingConfiguration"]["UdpTimeout"] == 60
        assert "Association" not in interface
        both = {"ImageId": MICRO, "MinCount": 1, "MaxCount": 1, "NetworkInterfaces": [spelled]}
        assert code_of(ec2.run_instances, **both, SecurityGroupIds=[web]) == "InvalidParameterCombination"
        unknown = both | {"NetworkInterfaces": [spelled | {"Description": "x"}]}
        assert code_of(ec2.run_instances, **unknown) == "UnsupportedOperation"


class TestNetworksOfOnesOwn:
    def test_a_life(self, ec2: Any) -> None:
        tagged = [{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "mine"}]}]
        asked = {"CidrBlock": "10.1.0.0/16", "AmazonProvidedIpv6CidrBlock": True, "TagSpecifications": tagged}
        made = ec2.create_vpc(**asked)["Vpc"]
        vpc = made["VpcId"]
        assert (made["IsDefault"], made["Tags"]) == (False, [{"Key": "Name", "Value": "mine"}])
        block = made["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.0.0/24", Ipv6CidrBlock=block)["Subnet"]
        assert (subnet["AvailableIpAddressCount"], subnet["MapPublicIpOnLaunch"]) == (251, False)
        by_zone = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.1.0/24", AvailabilityZoneId="use1-az3")["Subnet"]
        assert by_zone["AvailabilityZone"] == "us-east-1c"
        side = ec2.create_security_group(GroupName="web", Description="d", VpcId=vpc)["GroupId"]
        mine = {"ImageId": MICRO, "MinCount": 1, "MaxCount": 1}
        wrong = code_of(ec2.run_instances, **mine, SecurityGroupIds=[side])
        assert wrong == "InvalidGroup.NotFound"
        instance = launched(ec2, SubnetId=subnet["SubnetId"], SecurityGroupIds=[side])
        assert (instance["VpcId"], "PublicIpAddress" in instance) == (vpc, False)
        assert instance["Ipv6Address"].startswith("fd5c:ec2:")
        assert code_of(ec2.delete_subnet, SubnetId=subnet["SubnetId"]) == "DependencyViolation"
        assert code_of(ec2.delete_vpc, VpcId=vpc) == "DependencyViolation"
        assert code_of(ec2.create_subnet, VpcId=vpc, CidrBlock="10.1.0.0/25") == "InvalidSubnet.Conflict"
        assert code_of(ec2.create_vpc, CidrBlock="10.0.0.0/8") == "InvalidParameterValue"
        empty = ec2.create_vpc(CidrBlock="10.2.0.0/16")["Vpc"]["VpcId"]
        ec2.delete_vpc(VpcId=empty)
        assert code_of(ec2.describe_vpcs, VpcIds=[empty]) == "InvalidVpcID.NotFound"
