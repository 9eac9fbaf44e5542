"""What people ask of policy.

In: a HostView and a question. Out: a plain value to print. Pure, and all on top of evaluate.py, so that
no answer here can differ from the verdict a packet meets. Knows no output format. Start at explain.py.
"""
