"""Policy: one host's view of the resources becomes all that the host enforces.

In: model.host_view.HostView, frozen. Out: entries.HostPolicy. Pure: same input, same output, no I/O, no
clock, no randomness. Knows nothing of stores, kernels or byte layouts. Start at compile.py; when in doubt
what a rule means, read evaluate.py, which says it slowly.
"""
