"""Fuzz targets: engines that must agree, fed by chance until time or judgements run out.

In: a seed. Out: one report, with --json `{"fuzz", "judgements", "disagreements", "seed"}`; exit 1 on a disagreement.
`./dev fuzz NAME` runs one; corpus/ keeps inputs that ever broke something.
"""
