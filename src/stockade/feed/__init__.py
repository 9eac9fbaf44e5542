"""Feed: the store's changes become each host's view, streamed to its agent.

In: transactions of the store, as a Ledger tells them. Out: frames of each host's view, down; revisions enforced,
instance states and flow events, up. Must not know EC2, the datapath, or what a host does with its view.
Start at views.py (which resources concern which host), then local.py.
"""
