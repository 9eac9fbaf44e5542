"""Datapath: entries become verdicts on packets.

In: policy.entries.HostPolicy, whole, as often as one likes. Out: enforcement that outlives the process, counters, and
flow events. Knows nothing of EC2, accounts or the store. contract.py says what is promised, plan.py orders the steps
of a change, ebpf/ is the contract on Linux and simulated/ the same in memory; tests/contract holds them equal.
"""
