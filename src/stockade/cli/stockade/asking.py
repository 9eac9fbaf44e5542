"""The commands that ask about policy and traffic, as options of the command line. Their code is imported when run."""

from typing import Annotated

import typer

# ruff: noqa: PLC0415 - see above

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


def add_to(app: typer.Typer) -> None:
    """Make them commands of `stockade`."""
    for command in (explain,):
        app.command()(command)


def explain(
    source: Annotated[str, typer.Argument(help="An instance, group, interface, address or block.")],
    destination: Annotated[str, typer.Argument(help="The same.")],
    port: Annotated[str, typer.Argument(help="tcp/80, tcp/80-90, udp/53, icmp, icmp/8, all, or a protocol number.")],
    json: Json = False,
) -> None:
    """Would it pass, and why: both gates, the rule or the nearest one. Exit code 0 passes, 1 blocked."""
    from stockade.cli.stockade import explain as explaining

    raise typer.Exit(explaining.explain(source, destination, port, as_json=json))
