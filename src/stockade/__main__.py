"""`python -m stockade`: the same as the command `stockade`."""

import signal


def main() -> None:
    """The console script. While it loads, an interrupt ends it at once.

    Raised as an exception in the middle of an import it may be swallowed there, or told as something else.
    """
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if raises:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from stockade.cli.stockade.main import main as command  # noqa: PLC0415 - see above

    if raises:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


if __name__ == "__main__":
    main()
