"""The simulated datapath: the contract in memory, for tests and trials without root.

In: the same HostPolicy the kernel gets, and packets as values. Out: the same verdicts, by the same rules,
from the *entries* alone; it never asks policy.evaluate, which is held against it. Knows no kernel, no
clock: time is moved by hand. Start at datapath.py.
"""
