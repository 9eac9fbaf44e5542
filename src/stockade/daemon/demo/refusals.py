"""The negative table: what must be refused, in the service's words, and what must quietly succeed."""

from stockade.daemon.demo.script import Step, Tool

STEPS = (
    Step(
        "N1",
        "a group that is not there",
        (Tool("ec2-describe-group nosuch", refused="Client.InvalidGroup.NotFound:"),),
    ),
    Step("N2", "a name that is taken", (Tool("ec2-add-group apache -d x", refused="Client.InvalidGroup.Duplicate:"),)),
    Step("N3", "a group in use", (Tool("ec2-delete-group apache", refused="Client.InvalidGroup.InUse:"),)),
    Step("N4", "the default group", (Tool("ec2-delete-group default", refused="Client.InvalidGroup.Reserved:"),)),
    Step(
        "N5",
        "a rule that is not there is revoked all the same",
        (
            Tool(
                "ec2-revoke apache -P tcp -p 2222 -s 0.0.0.0/0",
                (
                    "GROUP | ∅ | apache",
                    "PERMISSION | ∅ | apache | ALLOWS | tcp | 2222 | 2222 | FROM | CIDR | 0.0.0.0/0",
                ),
            ),
        ),
    ),
    Step(
        "N6",
        "an instance that is not there",
        (Tool("ec2din i-00000000", refused="Client.InvalidInstanceID.NotFound:"),),
    ),
)
