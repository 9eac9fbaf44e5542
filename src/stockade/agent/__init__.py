"""Agent: the loops of one host. Small, dull, restartable at any instruction.

In: frames of this host's view, from the feed. Out: policy in the datapath, instances in their driver, and
what was seen of both back up the same stream. It also keeps the journal of what Stockade made on this host,
and can undo all of it from that journal alone. It must not know the store, EC2, or which drivers it drives.
Start at agent.py; the decisions are in plan_instances (instance_loop.py) and outstanding (journal.py).
"""
