"""The commands that ask about policy and traffic, as options of the command line. Their code is imported when run."""

from pathlib import Path
from typing import Annotated

import typer

# ruff: noqa: PLC0415 - see above

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Utc = Annotated[bool, typer.Option("--utc", help="Exact times, in UTC.")]


def _names(incomplete: str) -> list[str]:
    from stockade.cli.stockade import completion

    return completion.names(incomplete)


def _groups(incomplete: str) -> list[str]:
    from stockade.cli.stockade import completion

    return completion.groups(incomplete)


def _devices(incomplete: str) -> list[str]:
    from stockade.cli.stockade import completion

    return completion.devices(incomplete)


def _traffic(incomplete: str) -> list[str]:
    from stockade.cli.stockade import completion

    return completion.traffic(incomplete)


def _modes(incomplete: str) -> list[str]:
    return [mode for mode in ("model", "kernel", "both") if mode.startswith(incomplete)]


def add_to(app: typer.Typer) -> None:
    """Make them commands of `stockade`."""
    for command in (explain, flows, group, matrix, test, attach, detach, cut):
        app.command()(command)


def attach(
    device: Annotated[str, typer.Argument(help="An existing network device of this host: a container's veth, a tap.")],
    group_of: Annotated[
        list[str],
        typer.Option("--group", "-g", help="A group, by name or id; may be repeated.", autocompletion=_groups),
    ],
    address: Annotated[
        list[str] | None, typer.Option(help="An address that its guest may have; else those it has now.")
    ] = None,
    mac: Annotated[str | None, typer.Option(help="Its guest's MAC address; else what the kernel tells.")] = None,
    json: Json = False,
) -> None:
    """Put an existing device of this host under groups, where it is: somebody else goes on forwarding for it."""
    from stockade.cli.stockade import attachments

    raise typer.Exit(attachments.attach(device, group_of, address or [], mac, as_json=json))


def detach(
    target: Annotated[str, typer.Argument(help="The device, or the id of its interface.", autocompletion=_devices)],
    json: Json = False,
) -> None:
    """Let go of a device that was attached; it is left as it was found."""
    from stockade.cli.stockade import attachments

    raise typer.Exit(attachments.detach(target, as_json=json))


def cut(
    target: Annotated[str, typer.Argument(help="A group, instance or interface.", autocompletion=_names)],
    json: Json = False,
) -> None:
    """Judge every live flow there anew: what the rules no longer allow ends, the tracked ones too."""
    from stockade.cli.stockade import attachments

    raise typer.Exit(attachments.cut(target, as_json=json))


def explain(
    source: Annotated[
        str, typer.Argument(help="An instance, group, interface, address or block.", autocompletion=_names)
    ],
    destination: Annotated[str, typer.Argument(help="The same.", autocompletion=_names)],
    port: Annotated[
        str,
        typer.Argument(
            help="tcp/80, tcp/80-90, udp/53, icmp, icmp/8, all, or a protocol number.", autocompletion=_traffic
        ),
    ],
    probe: Annotated[bool, typer.Option("--probe", help="Also send real packets, and see who arrives.")] = False,
    json: Json = False,
) -> None:
    """Would it pass, and why: both gates, the rule or the nearest one. Exit code 0 passes, 1 blocked.

    With --probe exit code 70 when packets do otherwise than the rules say, 6 when none could be sent.
    """
    from stockade.cli.stockade import explain as explaining

    raise typer.Exit(explaining.explain(source, destination, port, as_json=json, probe=probe))


def flows(
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until interrupted.")] = False,
    source: Annotated[
        str | None,
        typer.Option("--from", help="An instance, group, interface, address or block.", autocompletion=_names),
    ] = None,
    destination: Annotated[str | None, typer.Option("--to", help="The same.", autocompletion=_names)] = None,
    port: Annotated[str | None, typer.Option(help="tcp/80, tcp/80-90, udp, icmp/8, or a protocol number.")] = None,
    group_of: Annotated[
        str | None, typer.Option("--group", help="One side is in this group.", autocompletion=_groups)
    ] = None,
    rule: Annotated[str | None, typer.Option(help="Decided by this rule: its id, or how that begins.")] = None,
    accept: Annotated[bool, typer.Option("--accept", help="Only what was let through.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Only what was dropped.")] = False,
    since: Annotated[str | None, typer.Option(help="Not older than this: 30s, 5m, 1h.")] = None,
    last: Annotated[int | None, typer.Option(min=1, help="Only so many, the newest.")] = None,
    output: Annotated[str | None, typer.Option("-o", "--output", help="table, json or aws.")] = None,
    template: Annotated[str | None, typer.Option("--format", help="'${srcaddr} ${dstport} ${action}'")] = None,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="A table without its first line.")] = False,
    utc: Utc = False,
) -> None:
    """Live and recent flows, with their verdict and the rule that decided."""
    from stockade.cli.stockade import flows as showing
    from stockade.daemon.problems import USAGE, Problem

    if accept and reject:
        raise Problem("--accept and --reject exclude each other", code=USAGE)
    verdict = "accept" if accept else "reject" if reject else None
    filters = {"from": source, "to": destination, "port": port, "group": group_of, "rule": rule, "verdict": verdict}
    done = showing.flows(
        filters,
        since=since,
        last=last,
        follow=follow,
        output=output,
        template=template,
        headers=not no_headers,
        utc=utc,
    )
    raise typer.Exit(done)


def group(
    name: Annotated[str, typer.Argument(help="A group, by id, how its id begins, or name.", autocompletion=_groups)],
    utc: Utc = False,
    json: Json = False,
) -> None:
    """One group: its rules with what they let through, its members, who refers to it."""
    from stockade.cli.stockade import group as showing

    raise typer.Exit(showing.group(name, as_json=json, utc=utc))


def matrix(
    port: Annotated[str | None, typer.Argument(help="tcp/80, icmp, ...: only whether this passes.")] = None,
    json: Json = False,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="A table without its first line.")] = False,
) -> None:
    """Who can reach whom: the world and every group with members, each to each."""
    from stockade.cli.stockade import matrix as showing

    raise typer.Exit(showing.matrix(port, as_json=json, headers=not no_headers))


def test(
    files: Annotated[list[Path] | None, typer.Argument(help="Test files; else every *.stockade.yaml here.")] = None,
    mode: Annotated[
        str,
        typer.Option(
            help="model asks the engine, kernel sends real packets, both holds one against the other.",
            autocompletion=_modes,
        ),
    ] = "model",
    model_from: Annotated[
        list[Path] | None,
        typer.Option(help="No daemon: rules from this file, of aws ec2 describe-... or of terraform show -json."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Also write the results there, for CI.")] = None,
    github: Annotated[bool, typer.Option("--github", help="Annotations and a step summary for GitHub.")] = False,
    json: Json = False,
) -> None:
    """Policy tests: what must pass and what must not. Exit code 1 when some do not hold, 70 when the kernel differs."""
    from stockade.cli.stockade import policy_tests

    raise typer.Exit(
        policy_tests.test(files or [], mode, model_from=model_from or [], junit=junit, github=github, as_json=json)
    )
