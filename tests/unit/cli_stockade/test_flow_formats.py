"""One flow as a line."""

import pytest

from stockade.cli.stockade.flow_formats import aws_line, formatted, padded, row
from stockade.daemon.problems import Problem

FLOW = {
    "number": 7,
    "at": "2026-05-01T12:00:00.250Z",
    "verdict": "REJECT",
    "source": {"address": "192.168.1.130", "name": None, "instance_id": None, "interface_id": None},
    "destination": {"address": "10.0.0.11", "name": "web1", "instance_id": "i-1", "interface_id": "eni-1"},
    "protocol": 6,
    "source_port": 40000,
    "destination_port": 22,
    "icmp_type": None,
    "icmp_code": None,
    "traffic": "tcp/22",
    "gate": "ingress",
    "reason": "NO_INGRESS_RULE",
    "rules": {"egress": None, "ingress": None},
    "why": "ingress: no match in apache",
    "account_id": "598916040194",
    "interface_id": "eni-1",
    "instance_id": "i-1",
    "subnet_id": None,
    "vpc_id": "vpc-1",
    "region": "us-east-1",
    "direction": "ingress",
}


def test_the_aws_record_has_its_fourteen_fields_in_order() -> None:
    record = "2 598916040194 eni-1 192.168.1.130 10.0.0.11 40000 22 6 1 - 1777636800 1777636800 REJECT OK"
    assert aws_line(FLOW) == record


def test_fields_are_put_into_a_format_and_what_does_not_apply_is_a_dash() -> None:
    line = formatted("${srcaddr} ${dstport} ${action} ${stk-reason} ${stk-rule-id} ${subnet-id}!")
    assert line(FLOW) == "192.168.1.130 22 REJECT NO_INGRESS_RULE - -!"


def test_every_field_of_awss_records_is_known() -> None:
    line = formatted("${type} ${az-id} ${traffic-path} ${reject-reason} ${ecs-task-id} ${pkt-dst-aws-service}")
    assert line(FLOW) == "IPv4 - - - - -"
    six = {**FLOW, "source": {**FLOW["source"], "address": "2001:db8::7"}}  # type: ignore[dict-item]
    assert formatted("${type} ${srcaddr}")(six) == "IPv6 2001:db8::7"


def test_exact_times_are_utc_and_widen_their_column() -> None:
    assert row(FLOW, utc=True)[0] == "2026-05-01T12:00:00.250Z"
    assert padded(("TIME", "VERDICT"), utc=True).index("VERDICT") == padded(row(FLOW, utc=True), utc=True).index(
        "REJECT"
    )


def test_an_unknown_field_is_wrong_usage() -> None:
    with pytest.raises(Problem) as caught:
        formatted("${colour}")
    assert caught.value.code == 2


def test_a_row_names_both_sides() -> None:
    cells = row(FLOW)
    assert cells[1:] == ("REJECT", "192.168.1.130", "web1 10.0.0.11", "tcp/22", "ingress: no match in apache")
    assert padded(cells).endswith("  ingress: no match in apache")
