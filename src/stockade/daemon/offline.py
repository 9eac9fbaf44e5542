"""The engine without a daemon: policy tests of rules that files describe. Reads no network and needs no rights."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stockade.api.aws.errors import fault_of
from stockade.api.native.documents import Documents
from stockade.api.native.probe_documents import test_document, tests_document
from stockade.daemon.problems import USAGE, Problem
from stockade.model.errors import StockadeError
from stockade.model.resources import Resources
from stockade.service.answers import Answers
from stockade.service.caller import Caller
from stockade.service.cell import CellSettings
from stockade.service.described import READER, REGION, read_described


@dataclass(frozen=True, slots=True)
class State:
    """Resources that nobody changes: service.answers.Known."""

    resources: Resources
    settings: CellSettings


def described(documents: Iterable[tuple[str, Any]]) -> State:
    """What the files (name and parsed JSON) describe together. Raises Problem."""
    try:
        return State(read_described(documents).resources(), CellSettings(regions={REGION: ()}))
    except StockadeError as err:
        raise Problem(fault_of(err, classic=False).message, code=USAGE) from err
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        why = f"{type(err).__name__}: {err}"
        raise Problem("a file of --model-from is not what it seems to be", why=why, code=USAGE) from err


def test(state: State, document: Any) -> dict[str, Any]:
    """As POST /_stockade/test answers in the mode `model`. Raises Problem."""
    answers = Answers(state)
    caller = Caller(READER, REGION)
    try:
        outcomes = asyncio.run(answers.test(caller, document))
    except StockadeError as err:
        fault = fault_of(err, classic=False)
        raise Problem(f"{fault.code}: {fault.message}", code=USAGE) from err
    documents = Documents(state.resources, answers.directory(caller))
    results = [test_document(documents, outcome, None, "model") for outcome in outcomes]
    return tests_document("model", results)
