"""Store: desired and observed state, in transactions, with a total order of changes.

In: guards and ops on keys. Out: revisions, and every change once and in order. Must not know who calls it or what
the records are for; only codec.py and cache.py know that values are model values. Start at contract.py.
"""
