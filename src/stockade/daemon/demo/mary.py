"""Story B: Mary's three tiers, and what the walk-through's closing notes promise."""

from itertools import permutations

from stockade.daemon.demo.script import (
    FILTERED,
    OPEN,
    WORKSTATION,
    Count,
    Inside,
    LoginTimesOut,
    Running,
    Scan,
    Spoof,
    Step,
    Story,
    Telnet,
    Together,
    Tool,
    Way,
    Ways,
    launch,
    names,
    ways,
)

WEB, APP, DATABASE, MICRO = "ami-fba54092", "ami-e3a5408a", "ami-f1a54098", "ami-eca54085"
ADMIN = "192.168.1.130/32"
STRANGER = "495219933132"

GROUP_APACHE = "GROUP | {ACCT} | apache | Mary's Apache group"
HTTP_FROM_ALL = "apache | ALLOWS | tcp | 80 | 80 | FROM | CIDR | 0.0.0.0/0"
SSH_FROM_ADMIN = f"PERMISSION | ∅ | apache | ALLOWS | tcp | 22 | 22 | FROM | CIDR | {ADMIN}"
DESCRIBE_APACHE = Tool("ec2-describe-group apache", (GROUP_APACHE, f"PERMISSION | {{ACCT}} | {HTTP_FROM_ALL}"))
COLOURS = ("RED1", "RED2", "BLUE1", "BLUE2")


def authorize_group(target: str, source: str, owner: str = "{ACCT}") -> Tool:
    """A whole group is let in."""
    return Tool(
        f"ec2-authorize {target} -o {source} -u {owner}",
        (
            f"GROUP | ∅ | {target}",
            f"PERMISSION | ∅ | {target} | ALLOWS | all | ∅ | ∅ | FROM | USER | {owner} | GRPNAME | {source}",
        ),
    )


def add_group(name: str, description: str, account: str = "") -> Tool:
    """A group is made."""
    return Tool(f'ec2-add-group {name} -d "{description}"', (f"GROUP | {name} | {description}",), account=account)


def one_more(image: str, group: str, name: str, account: str = "") -> Tool:
    """A launch of one, whose instance gets that name."""
    return launch(f"ec2run {image} -n 1 -g {group}", f"RES{name}", (name,), image, group, account)


WEB_TIER = (
    Step("B1a", "a group for web servers", (add_group("apache", "Mary's Apache group"),)),
    Step("B1b", "it lets in nobody", (Tool("ec2-describe-group apache", (GROUP_APACHE,)),)),
    Step(
        "B1c",
        "http for everybody",
        (
            Tool(
                "ec2-authorize apache -P tcp -p 80 -s 0.0.0.0/0",
                ("GROUP | ∅ | apache", f"PERMISSION | ∅ | {HTTP_FROM_ALL}"),
            ),
        ),
    ),
    Step("B1d", "it lets in http", (DESCRIBE_APACHE,)),
    Step("B2a", "seven web servers", (launch(f"ec2run {WEB} -n 7 -g apache", "RES2", names("W", 7), WEB, "apache"),)),
    Step(
        "B2b",
        "they run",
        (
            Running(names("W", 7), 80),
            Tool(
                "ec2din {W1}",
                (
                    "RESERVATION | {RES2} | {ACCT} | apache",
                    f"INSTANCE | {{W1}} | {WEB} | {{DNSW1}} | {{PDNSW1}} | running | ∅ | 0 | ∅ | "
                    "m1.small | {T} | {ZONE}",
                ),
            ),
        ),
    ),
    Step("B3", "only http is open", (Scan(WORKSTATION, "{DNSW1}", open=("80/tcp http",)),)),
    Step("B4", "a web server answers", (Telnet("{DNSW1}", 80, "{IPW1}"),)),
)

APPLICATION_TIER = (
    Step("B5", "a group for application servers", (add_group("appserver", "Mary's app server"),)),
    Step(
        "B6",
        "twenty application servers; 27 instances run",
        (
            launch(f"ec2run {APP} -n 20 -g appserver", "RES3", names("APP", 20), APP, "appserver"),
            Running(names("APP", 20), 8080),
            Count(27),
        ),
    ),
    Step(
        "B7",
        "the web servers may reach them; a stranger's group of the same name may not",
        (
            ways("W1 > APP1 tcp/8080 filtered"),
            authorize_group("appserver", "apache"),
            ways("W1 > APP1 tcp/8080 open", "W7 > APP20 tcp/8080 open"),
            # The account that the walk-through's text names, with a group `apache` of its own.
            add_group("apache", "Another Apache group", account="stranger"),
            one_more(MICRO, "apache", "STRANGE1", account="stranger"),
            add_group("partner", "lets in a group of another account"),
            authorize_group("partner", "apache", STRANGER),
            one_more(MICRO, "partner", "PARTNER1"),
            Running(("STRANGE1",), 22, account="stranger"),
            Running(("PARTNER1",), 22),
            ways(
                "STRANGE1 > PARTNER1 tcp/22 open",
                "W1 > PARTNER1 tcp/22 filtered",
                "STRANGE1 > APP1 tcp/8080 filtered",
            ),
            Tool("ec2-terminate-instances {PARTNER1}", ("INSTANCE | {PARTNER1} | running | shutting-down",)),
        ),
    ),
    Step(
        "B8",
        "the workstation does not reach them",
        (Together((Scan(WORKSTATION, "{DNSAPP1}"), Scan(WORKSTATION, "{DNSAPP1}", ports="8080"))),),
    ),
    Step(
        "B9a",
        "ssh to the web servers for the workstation",
        (Tool(f"ec2-authorize apache -P tcp -p 22 -s {ADMIN}", ("GROUP | ∅ | apache", SSH_FROM_ADMIN)),),
    ),
    Step(
        "B9b",
        "from a web server, an application server answers, by name and by its public address",
        (
            Telnet("{DNSAPP1}", 8080, "{PIPAPP1}", inside="{DNSW1}"),
            ways("W1 > public APP1 tcp/8080 open", "STRANGE1 > public APP1 tcp/8080 filtered"),
        ),
    ),
    Step(
        "B9c",
        "ssh is taken back; the rest stays",
        (
            Tool(f"ec2-revoke apache -P tcp -p 22 -s {ADMIN}", ("GROUP | ∅ | apache", SSH_FROM_ADMIN)),
            LoginTimesOut("{DNSW1}"),
            ways("workstation > W1 tcp/80 open", "workstation > W1 tcp/22 filtered"),
            DESCRIBE_APACHE,
        ),
    ),
)

DATABASE_TIER = (
    Step(
        "B10",
        "two databases, for application servers and for each other; 29 instances run",
        (
            add_group("database", "Mary's database"),
            launch(f"ec2run {DATABASE} -n 2 -g database", "RES4", names("DB", 2), DATABASE, "database"),
            Running(names("DB", 2), 3306),
            Count(29),
            authorize_group("database", "appserver"),
            ways(
                "workstation > DB1 tcp/3306 filtered",
                "workstation > DB1 tcp/22 filtered",
                "W1 > DB1 tcp/3306 filtered",
                "APP1 > DB1 tcp/3306 open",
                "APP20 > DB2 tcp/3306 open",
                "APP1 > W1 tcp/80 open",
                "APP1 > W1 tcp/22 filtered",
                "APP1 > W1 tcp/8080 filtered",
                "DB1 > DB2 tcp/3306 filtered",
                "DB2 > DB1 tcp/3306 filtered",
            ),
            authorize_group("database", "database"),
            ways("DB1 > DB2 tcp/3306 open", "DB2 > DB1 tcp/3306 open", "W1 > DB2 tcp/3306 filtered"),
        ),
    ),
    Step(
        "B11",
        "one more of each for the holidays: no rule changes",
        (
            one_more(WEB, "apache", "W8"),
            one_more(APP, "appserver", "APP21"),
            Running(("W8",), 80),
            Running(("APP21",), 8080),
            ways(
                "W8 > APP1 tcp/8080 open",
                "workstation > W8 tcp/80 open",
                "W1 > APP21 tcp/8080 open",
                "W8 > APP21 tcp/8080 open",
                "APP21 > DB1 tcp/3306 open",
                "workstation > APP21 tcp/8080 filtered",
                "workstation > APP21 tcp/22 filtered",
            ),
        ),
    ),
)

CLOSING_NOTES = (
    Step(
        "B12",
        "groups as virtual networks: red talks to red, blue to blue",
        (
            add_group("red", "one virtual network"),
            add_group("blue", "another virtual network"),
            authorize_group("red", "red"),
            authorize_group("blue", "blue"),
            launch(f"ec2run {MICRO} -n 2 -g red", "RES5", names("RED", 2), MICRO, "red"),
            launch(f"ec2run {MICRO} -n 2 -g blue", "RES6", names("BLUE", 2), MICRO, "blue"),
            Running(COLOURS, 22),
            Ways(
                tuple(
                    Way(source, target, "tcp/22", OPEN if source[:-1] == target[:-1] else FILTERED)
                    for source, target in permutations(COLOURS, 2)
                )
            ),
            Together(tuple(Scan(WORKSTATION, f"{{DNS{name}}}") for name in COLOURS)),
        ),
    ),
    Step(
        "B13",
        "a firewall inside an instance can take away and not add",
        (
            Inside("W1", "nft add table inet own"),
            Inside("W1", "nft add chain inet own input '{ type filter hook input priority 0; policy accept; }'"),
            Inside("W1", "nft add rule inet own input tcp dport 80 drop"),
            ways("workstation > W1 tcp/80 filtered", "workstation > W2 tcp/80 open"),
            Inside("W1", "nft insert rule inet own input tcp dport 22 accept"),
            ways("workstation > W1 tcp/22 filtered"),
            Inside("W1", "nft delete table inet own"),
            ways("workstation > W1 tcp/80 open"),
        ),
    ),
    Step("B14", "a false source address leads nowhere, and is counted", (Spoof("W1", "APP1", "DB1", 3306),)),
)

STORY = Story(
    "mary",
    "Mary's three tiers",
    "mary",
    ("micro", "web", "app", "database"),
    (*WEB_TIER, *APPLICATION_TIER, *DATABASE_TIER, *CLOSING_NOTES),
)
