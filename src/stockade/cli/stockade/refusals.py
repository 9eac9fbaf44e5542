"""What the daemon refused, as a command's problem."""

from stockade.cli.stockade.connection import Answer
from stockade.daemon.problems import REFUSED, Problem


def accepted(answer: Answer) -> Answer:
    """The answer itself; raises Problem (exit 4) with the API's own code and words when it is a refusal."""
    if answer.status >= 400:
        error = answer.document.get("error", {})
        said = error.get("message") or answer.document.get("message", "")
        raise Problem(f"{error.get('code', answer.status)}: {said}", code=REFUSED)
    return answer
