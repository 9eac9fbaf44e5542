"""What one API call asks of waiting, and what it learns: handed along beside the arguments."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from stockade.model.change import Revision
from stockade.model.ids import HostId


@dataclass(slots=True)
class Call:
    """One call's context. `wait_s` None: as the cell's settings say; 0: do not wait. `cut`: whoever is concerned by
    the rules or memberships that it changes has its live flows judged anew, the tracked ones too.

    After the service returned: `revision` is what it wrote last (0: nothing), `lagging` the hosts that
    did not enforce it in time.
    """

    wait_s: float | None = None
    cut: bool = False
    revision: Revision = Revision(0)  # noqa: RUF009 - a NewType call is the number itself
    lagging: tuple[HostId, ...] = ()


_CURRENT: ContextVar[Call | None] = ContextVar("stockade_call", default=None)


def current() -> Call:
    """The context of the call being served; a fresh one outside of any."""
    return _CURRENT.get() or Call()


@contextmanager
def calling(wait_s: float | None = None, cut: bool = False) -> Iterator[Call]:
    """Services called inside the block note what they wrote and who lagged in the Call it yields."""
    call = Call(wait_s, cut)
    token = _CURRENT.set(call)
    try:
        yield call
    finally:
        _CURRENT.reset(token)
