"""The option syntax of the classic tools: what a command takes, and reading it from an argument list.

It is older than today's conventions: options stand before or after parameters, a short option may be glued to
its value (`-p80`), a value may begin with a dash (`-t -1:-1`), a value or parameter that is only a dash is read
from standard input, and a parameter too many is a warning.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from stockade.cli.ec2.connection import Service
    from stockade.cli.ec2.records import Record


class ArgumentProblem(Exception):
    """The command line cannot be understood; the text is the one line for standard error."""


class Option:
    """One option. Without `metavar` it takes no value; `many` may be given again and again."""

    __slots__ = ("key", "letter", "long", "many", "meaning", "metavar", "raw")

    def __init__(
        self, letter: str, long: str, metavar: str, meaning: str, *, many: bool = False, raw: bool = False
    ) -> None:
        self.letter = letter
        self.long = long
        self.metavar = metavar
        self.meaning = meaning
        self.many = many
        self.raw = raw  # `-` means all of standard input, not its words
        self.key = long.split(",", 1)[0].removeprefix("--")

    def names(self) -> "list[str]":
        """Every spelling, the short one first."""
        return ([self.letter] if self.letter else []) + self.long.split(",")

    def label(self) -> str:
        """How messages call it: `-d, --description DESCRIPTION`."""
        spelled = ", ".join(([self.letter] if self.letter else []) + [self.long.split(",", 1)[0]])
        return f"{spelled} {self.metavar}" if self.metavar else spelled


class Command:
    """A tool: its one-line summary, its parameter, its options, and the function that does it.

    `parameter` is empty, `NAME` (exactly one), `NAME...` (one or more) or `[NAME...]` (any number).
    """

    __slots__ = ("options", "parameter", "run", "summary")

    def __init__(
        self,
        summary: str,
        parameter: str,
        options: "Sequence[Option]",
        run: "Callable[[Service, Arguments], Iterable[Record]]",
    ) -> None:
        self.summary = summary
        self.parameter = parameter
        self.options = tuple(options)
        self.run = run


class Arguments:
    """What was given: option values by the option's long name, and the parameters."""

    __slots__ = ("command", "parameters", "values")

    def __init__(self, command: Command, values: "dict[str, list[str]]", parameters: "list[str]") -> None:
        self.command = command
        self.values = values
        self.parameters = parameters

    def has(self, key: str) -> bool:
        """Whether the option was given at all."""
        return key in self.values

    def one(self, key: str, default: str = "") -> str:
        """The option's value; the last one when it was given twice."""
        return self.values[key][-1] if key in self.values else default

    def many(self, key: str) -> "list[str]":
        """All values of a repeatable option, in order."""
        return self.values.get(key, [])

    def required(self, key: str) -> str:
        """The option's value, or the message that it is missing."""
        if key not in self.values:
            raise ArgumentProblem(f"Required option '{self.label(key)}' missing (-h for usage)")
        return self.values[key][-1]

    def refuse(self, key: str, value: str) -> ArgumentProblem:
        """The error for a value that cannot be meant."""
        return ArgumentProblem(f"Invalid argument for option '{self.label(key)}': '{value}' (-h for usage)")

    def label(self, key: str) -> str:
        """The option as messages call it."""
        return next(option.label() for option in (*self.command.options, *GENERAL) if option.key == key)


GENERAL = (
    Option("-O", "--aws-access-key", "KEY", "access key id that signs (AWS_ACCESS_KEY_ID, AWS_ACCESS_KEY)"),
    Option("-W", "--aws-secret-key", "SECRET", "its secret (AWS_SECRET_ACCESS_KEY, AWS_SECRET_KEY)"),
    Option("-T", "--security-token", "TOKEN", "session token that goes with the key (AWS_SESSION_TOKEN)"),
    Option("-K", "--private-key", "KEY", "PEM private key for SOAP (EC2_PRIVATE_KEY)"),
    Option("-C", "--cert", "CERT", "PEM certificate for SOAP (EC2_CERT)"),
    Option("-U", "--url", "URL", "service endpoint (AWS_ENDPOINT_URL_EC2, EC2_URL, AWS_ENDPOINT_URL)"),
    Option("", "--region", "REGION", "region of that endpoint (EC2_REGION)"),
    Option("", "--api-version", "VERSION", "API version to speak, 2006-06-26 to 2009-11-30 (EC2_API_VERSION)"),
    Option("", "--allow-aws", "", "let the endpoint be one of Amazon's"),
    Option("-v", "--verbose", "", "show request and response"),
    Option("-?", "--help,-h", "", "show this help"),
    Option("-H", "--headers", "", "column headings before the records"),
    Option("", "--debug", "", "show where an error came from"),
    Option("", "--show-empty-fields", "", "print (nil) for an empty field"),
    Option("", "--connection-timeout", "SECONDS", "how long to wait for the connection"),
    Option("", "--request-timeout", "SECONDS", "how long to wait for the answer"),
)


def read_arguments(command: Command, words: "Sequence[str]") -> Arguments:
    """Sort `words` into options and parameters. Raises ArgumentProblem; knows nothing of what values mean."""
    known = {name: option for option in (*GENERAL, *command.options) for name in option.names()}
    values: dict[str, list[str]] = {}
    parameters: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            parameters += rest
            break
        if word == "-":
            parameters += sys.stdin.read().split()
        elif not word.startswith("-"):
            parameters.append(word)
        else:
            option, value = _option(word, known, rest)
            values.setdefault(option.key, []).extend(_values(option, value))
    return Arguments(command, values, parameters)


def check_parameters(arguments: Arguments) -> "str | None":
    """Hold the parameters against what the command takes: raises when one is missing, returns a warning."""
    wanted = arguments.command.parameter
    name = wanted.strip("[].")
    if not wanted.startswith("[") and wanted and not arguments.parameters:
        raise ArgumentProblem(f"Required parameter '{name}' missing (-h for usage)")
    if wanted.endswith(("...", "...]")):
        return None
    taken = 1 if wanted else 0
    extra = arguments.parameters[taken:]
    del arguments.parameters[taken:]
    return f"WARNING: Ignoring extra parameter(s): [ {', '.join(extra)} ]" if extra else None


def usage(tool: str, command: Command) -> str:
    """The help page of a tool."""
    lines = [f"  {command.summary}", "", "  SYNOPSIS", f"     {tool} [OPTIONS] {command.parameter}".rstrip(), ""]
    for title, options in (("OPTIONS", command.options), ("GENERAL OPTIONS", GENERAL)):
        if options:
            lines.append(f"  {title}")
        for option in options:
            lines += [f"     {option.label()}", f"          {option.meaning}"]
        lines.append("")
    return "\n".join(lines)


def _option(word: str, known: "dict[str, Option]", rest: "list[str]") -> "tuple[Option, str | None]":
    """One option and its value: `-p 80`, `-p80`, `--port-range 80`, `--port-range=80`."""
    name, glued = word, None
    if word not in known:
        if word.startswith("--"):
            name, equals, glued_text = word.partition("=")
            glued = glued_text if equals else None
        else:
            name, glued = word[:2], word[2:]
    option = known.get(name)
    if option is None or (glued is not None and not option.metavar):
        raise ArgumentProblem(f"Unknown option '{word}' (-h for usage)")
    if not option.metavar:
        return option, None
    if glued is not None:
        return option, glued
    if not rest:
        raise ArgumentProblem(f"Option '{option.label()}' needs a value (-h for usage)")
    return option, rest.pop(0)


def _values(option: Option, value: "str | None") -> "list[str]":
    if value is None:
        return []
    if value != "-":
        return [value]
    text = sys.stdin.read()
    if option.raw:
        return [text]
    words = text.split()
    return words if option.many else words[:1]
