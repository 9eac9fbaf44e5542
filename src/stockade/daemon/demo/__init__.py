"""The demo: EC2's two classic walk-throughs, played for real on this machine.

In: which story. Out: every command with its real output, a line for each check with its step's id, and
`demo passed: N checks` or `demo failed: A3 B8 ...`. Everything happens in network namespaces without an uplink:
a workstation and a neighbour of it (world.py), and a host on which `stockade up` runs (region.py).

What is done and what must come of it is data: script.py has the vocabulary, albert.py, mary.py and refusals.py
the steps, in the words of the walk-throughs. player.py plays them. The tools are behind one small protocol
(transport.py), so that the same steps can be played by another client. Knows the daemon from outside only, as
a user does: commands, the API, packets.
"""
