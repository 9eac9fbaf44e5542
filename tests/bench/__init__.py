"""Benchmarks: numbers with the machine they were taken on, peers interleaved with us in one run.

In: a running kernel. Out: one report in the form of harness.py, as a table or as one JSON object. Each
module is a benchmark, `./dev bench NAME` runs it. Start at harness.py.
"""
