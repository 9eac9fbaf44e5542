"""Story A: Albert lets himself in to the default group."""

from stockade.daemon.demo.script import NEIGHBOUR, WORKSTATION, Running, Scan, Step, Story, Tool, launch, ways

IMAGE = "ami-eca54085"
ADMIN = "192.168.1.130/32"
SSH_FROM_ADMIN = "PERMISSION | ∅ | default | ALLOWS | tcp | 22 | 22 | FROM | CIDR | " + ADMIN
AUTHORIZE = f"ec2-authorize default -P tcp -p 22 -s {ADMIN}"

STORY = Story(
    "albert",
    "Albert modifies the default group",
    "albert",
    ("micro",),
    (
        Step(
            "A1",
            "an instance in the default group",
            (launch(f"ec2-run-instances {IMAGE}", "RES1", ("I1",), IMAGE, "default"),),
        ),
        Step(
            "A2",
            "it runs; the default group lets in its own members only",
            (
                Running(("I1",), 22),
                Tool(
                    "ec2-describe-group default",
                    (
                        "GROUP | {ACCT} | default | default group",
                        "PERMISSION | {ACCT} | default | ALLOWS | all | ∅ | ∅ | FROM | USER | {ACCT} | "
                        "GRPNAME | default",
                    ),
                ),
                # What that line means: any port by tcp and udp (closed is an answer), and ping.
                launch(f"ec2-run-instances {IMAGE}", "RES2", ("I2",), IMAGE, "default"),
                Running(("I2",), 22),
                ways("I2 > I1 tcp/22 open", "I2 > I1 tcp/4000 closed", "I2 > I1 udp/4000 closed", "I2 > I1 icmp open"),
            ),
        ),
        Step("A3", "the workstation sees nothing", (Scan(WORKSTATION, "{DNSI1}"),)),
        Step("A4", "ssh for the workstation", (Tool(AUTHORIZE, ("GROUP | ∅ | default", SSH_FROM_ADMIN)),)),
        Step(
            "A5",
            "ssh is open to the workstation, at once, and to nobody else",
            (
                Scan(WORKSTATION, "{DNSI1}", open=("22/tcp ssh",)),
                Scan(NEIGHBOUR, "{DNSI1}"),
                Tool(AUTHORIZE, refused="Client.InvalidPermission.Duplicate:"),
            ),
        ),
    ),
)
