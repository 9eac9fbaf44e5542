"""The form of a report is a promise: other programs read it."""

import json

import pytest

from bench.harness import Options, Report, as_document, fuzz_document, interleaved, run


def test_document_has_the_promised_form() -> None:
    report = Report(rounds=2)
    report.spread("crr.stockade/routed", [1.25, 1.0])
    report.figure("idle.stockade", 96.0, "MiB")
    document = json.loads(json.dumps(as_document("datapath", report)))
    assert {key: document[key] for key in ("bench", "rounds", "metrics")} == {
        "bench": "datapath",
        "rounds": 2,
        "metrics": {
            "crr.stockade/routed": {"min": 1.0, "median": 1.125, "max": 1.25},
            "idle.stockade": {"value": 96.0, "unit": "MiB"},
        },
    }
    assert {"cpu", "cores", "kernel", "memory_mib"} <= document["machine"].keys()


def test_fuzz_document_has_the_promised_form() -> None:
    assert fuzz_document("verdicts", 9, 0, 4) == {"fuzz": "verdicts", "judgements": 9, "disagreements": 0, "seed": 4}


def test_contestants_take_turns_and_nobody_is_always_first() -> None:
    order: list[str] = []

    def contestant(name: str) -> float:
        order.append(name)
        return float(len(order))

    rounds = interleaved(3, {name: lambda name=name: contestant(name) for name in "abc"})  # type: ignore[misc]
    assert order == list("abc" + "bca" + "cab")
    assert rounds.of("a") == [1.0, 6.0, 8.0]


def test_a_ratio_is_taken_within_each_round() -> None:
    slowing = iter((1.0, 2.0, 20.0, 10.0))
    rounds = interleaved(2, {"ours": lambda: next(slowing), "theirs": lambda: next(slowing)})
    assert rounds.ratio("ours", "theirs") == [0.5, 0.5]


@pytest.mark.parametrize(("arguments", "code"), [(["--check"], 1), ([], 0)])
def test_a_missed_promise_fails_only_when_asked_to_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    def measure(options: Options) -> Report:
        report = Report(options.rounds(full=25, quick=5))
        report.spread("crr.stockade/routed", [0.9], at_least=1.0)
        return report

    monkeypatch.setattr("sys.argv", ["bench", "--quick", *arguments])
    with pytest.raises(SystemExit) as ended:
        run("datapath", measure)
    assert ended.value.code == code
    printed = capsys.readouterr().out
    assert "5 rounds" in printed
    assert "MISSED: promised >= 1" in printed
