"""Daemon: one running Stockade made of the parts below.

In: settings. Out: two processes, the agent (privileged, run.py) and the control process (unprivileged,
control.py), which talk over a socket pair; and on `down` a host as it was. Only wiring.py names concrete
stores, datapaths and drivers. It must not know the command line. Start at run.py, which is the order of
starting in one screen; what undoes it is down.py.
"""
