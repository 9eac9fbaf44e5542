"""The command line: names, options, and where each command's code is.

Modules are imported inside the commands on purpose: `stockade env` must not wait for what `up` needs.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from stockade.cli.stockade import asking

# ruff: noqa: PLC0415 - see above

app = typer.Typer(
    name="stockade",
    help="EC2's distributed firewall for Linux: security groups enforced by eBPF, proven with packets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
account_app = typer.Typer(help="Callers: accounts and their keys.", no_args_is_help=True)
image_app = typer.Typer(help="The catalogue of images.", no_args_is_help=True)
app.add_typer(account_app, name="account")
app.add_typer(image_app, name="image")

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only ids.")]
NoHeaders = Annotated[bool, typer.Option("--no-headers", help="A table without its first line.")]


@app.callback(invoke_without_command=True)
def _stockade(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    context.obj = debug
    if version:
        from stockade import __version__

        typer.echo(f"stockade {__version__}")
        raise typer.Exit


@app.command()
def up(
    detach: Annotated[bool, typer.Option("-d", "--detach", help="In the background; returns when ready.")] = False,
    wait: Annotated[str, typer.Option(help="With -d: how long to wait until it is ready.")] = "30s",
    enforce: Annotated[str | None, typer.Option(help="kernel, or none: groups are then only stored.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be made on this host.")] = False,
    config: Annotated[Path | None, typer.Option(help="Read only this configuration file.")] = None,
    json: Json = False,
) -> None:
    """Start the daemon, prove that it enforces, and say where it listens."""
    if not detach:
        # Nothing is made before the daemon listens to signals itself; until then an interrupt just ends us.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from stockade.cli.stockade import lifecycle

    options = {"enforce.mode": enforce} if enforce is not None else {}
    if dry_run:
        raise typer.Exit(lifecycle.dry_run(options, config, as_json=json))
    raise typer.Exit(lifecycle.up(options, config, detach=detach, wait=wait))


@app.command()
def down(
    keep: Annotated[bool, typer.Option("--keep", help="Instances and rules stay, enforced.")] = False,
    force: Annotated[bool, typer.Option("--force", help="From the journal alone, whatever has died.")] = False,
    config: Annotated[Path | None, typer.Option(help="Read only this configuration file.")] = None,
) -> None:
    """Stop the daemon and remove what it made on this host; its state file stays."""
    from stockade.cli.stockade import lifecycle

    raise typer.Exit(lifecycle.down(config, keep=keep, force=force))


@app.command()
def status(json: Json = False) -> None:
    """What runs, and whether it enforces."""
    from stockade.cli.stockade import questions

    raise typer.Exit(questions.status(as_json=json))


@app.command()
def doctor(json: Json = False) -> None:
    """What this host can do, with a fix for each lack."""
    from stockade.cli.stockade import doctor as doctor_command

    raise typer.Exit(doctor_command.doctor(as_json=json))


@app.command()
def env(
    shell: Annotated[str, typer.Option(help="sh, fish or json.")] = "sh",
) -> None:
    """Lines for eval: endpoint, keys, region, PATH of the ec2 tools."""
    from stockade.cli.stockade import environment

    raise typer.Exit(environment.env(shell))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def shell(context: typer.Context) -> None:
    """A shell (or, after --, one command) in which instance names resolve and `stockade env` holds."""
    from stockade.cli.stockade import environment

    environment.shell(context.args)


@app.command(
    context_settings={
        "allow_extra_args": True,
        "allow_interspersed_args": False,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)
def ec2(
    context: typer.Context, tool: Annotated[str, typer.Argument(help="authorize, ec2-authorize or ec2auth.")]
) -> None:
    """One of the classic tools, without PATH: stockade ec2 authorize default -p 22."""
    from stockade.cli.stockade import environment

    raise typer.Exit(environment.classic_tool(tool, context.args))


@app.command()
def completion(
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish.")],
) -> None:
    """What a shell evaluates to complete commands, options and names: eval "$(stockade completion bash)"."""
    from stockade.cli.stockade import completion as completing

    typer.echo(completing.script(shell))


@app.command()
def config(json: Json = False) -> None:
    """Each setting in force, and where it came from."""
    from stockade.cli.stockade import questions

    raise typer.Exit(questions.config(as_json=json))


@app.command()
def groups(json: Json = False, quiet: Quiet = False, no_headers: NoHeaders = False) -> None:
    """Groups, with how many instances use each."""
    from stockade.cli.stockade import resources

    raise typer.Exit(resources.groups(as_json=json, quiet=quiet, headers=not no_headers))


@app.command()
def ps(json: Json = False, quiet: Quiet = False, no_headers: NoHeaders = False) -> None:
    """Instances, with their state, addresses and groups."""
    from stockade.cli.stockade import resources

    raise typer.Exit(resources.instances(as_json=json, quiet=quiet, headers=not no_headers))


@app.command()
def run(
    group: Annotated[list[str], typer.Option("--group", "-g", help="A group, by name or id; may be repeated.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1)] = 1,
    name: Annotated[str | None, typer.Option(help="The Name tag.")] = None,
    image: Annotated[str, typer.Option(help="An image, by id.")] = "ami-eca54085",
    wait: Annotated[str, typer.Option(help="How long to wait until all run.")] = "30s",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Instances in one line."""
    from stockade.cli.stockade import resources

    raise typer.Exit(resources.run(group, count, name=name, image=image, wait=wait, as_json=json, quiet=quiet))


asking.add_to(app)


@account_app.command("create")
def account_create(
    id: Annotated[str | None, typer.Option(help="12 digits; else a free number is taken.")] = None,
    name: Annotated[str | None, typer.Option()] = None,
    platform: Annotated[str, typer.Option(help="vpc or classic.")] = "vpc",
    key: Annotated[Path | None, typer.Option(help="Public key for launches that name none.")] = None,
    shell: Annotated[str | None, typer.Option(help="Print lines for eval instead: sh or fish.")] = None,
    json: Json = False,
) -> None:
    """A new account, its access key and its default network."""
    from stockade.cli.stockade import accounts

    raise typer.Exit(accounts.create(id, name, platform=platform, key=key, shell=shell, as_json=json))


@account_app.command("list")
def account_list(json: Json = False, quiet: Quiet = False, no_headers: NoHeaders = False) -> None:
    """Every account."""
    from stockade.cli.stockade import accounts

    raise typer.Exit(accounts.list_all(as_json=json, quiet=quiet, headers=not no_headers))


@image_app.command("list")
def image_list(json: Json = False, quiet: Quiet = False, no_headers: NoHeaders = False) -> None:
    """The catalogue, and which images are built."""
    from stockade.cli.stockade import images

    raise typer.Exit(images.list_all(as_json=json, quiet=quiet, headers=not no_headers))


@image_app.command("build")
def image_build(
    recipes: Annotated[list[str] | None, typer.Argument(help="micro, base, web, app, database; else all.")] = None,
) -> None:
    """Build images now, so that the first launch need not."""
    from stockade.cli.stockade import images

    raise typer.Exit(images.build(recipes or []))


def main() -> None:
    """The console script, and `python -m stockade`."""
    from stockade.daemon.problems import INTERRUPTED, OUR_BUG, USAGE, Problem
    from stockade.daemon.settings import SettingsError

    debug = "--debug" in sys.argv or os.environ.get("STOCKADE_LOG") == "debug"
    try:
        if "_STOCKADE_COMPLETE" in os.environ:
            from stockade.cli.stockade.completion import answer

            sys.exit(answer(app))
        app()
    except Problem as problem:
        _tell(problem.lines(), debug)
        sys.exit(problem.code)
    except SettingsError as err:
        _tell(Problem(err.what, why=err.why, attempt=err.attempt).lines(), debug)
        sys.exit(USAGE)
    except BrokenPipeError:
        # `stockade groups | head -1`: whoever read it has enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as err:
        if debug:
            raise
        _tell([f"error: Stockade itself failed: {type(err).__name__}: {err}", "  see:  --debug shows where"], debug)
        sys.exit(OUR_BUG)


def _tell(lines: list[str], debug: bool) -> None:
    if debug and sys.exc_info()[0] is not None:
        import traceback

        traceback.print_exc()
    for line in lines:
        print(line, file=sys.stderr)
