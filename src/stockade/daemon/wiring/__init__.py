"""Wiring: the composition root, the one place that names concrete stores, datapaths and drivers.

In: settings. Out: the agent's half (host.py) and the control process's half (cell.py), each importing only what its
process needs; stream.py is the feed between the two. Nothing else in the product may know which drivers it runs on.
"""
