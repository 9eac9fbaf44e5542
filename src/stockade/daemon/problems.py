"""Problems a person can do something about: what failed, why, what to do, where to read on."""


class Problem(Exception):
    """Ends a command with this exit code and these lines (ux.md, "Messages"). Never wraps a bug of ours."""

    def __init__(self, what: str, *, why: str = "", attempt: str = "", see: str = "", code: int = 5) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.attempt = attempt
        self.see = see
        self.code = code

    def lines(self) -> list[str]:
        """As printed on stderr."""
        found = [f"error: {self.what}"]
        for label, text in (("why", self.why), ("try", self.attempt), ("see", self.see)):
            if text:
                first, *rest = text.splitlines()
                found += [f"  {label}:  {first}", *(f"        {line}" for line in rest)]
        return found


USAGE, UNREACHABLE, REFUSED, CANNOT, DEGRADED, OUR_BUG, TIMED_OUT, INTERRUPTED = 2, 3, 4, 5, 6, 70, 124, 130
"""Exit codes of `stockade` beside 0 (done) and 1 (a clear no)."""
