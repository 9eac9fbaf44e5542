"""Command lines: clients of a running daemon.

In: arguments and the environment. Out: records or tables on standard output, messages on standard error, an exit
code. Must not know how anything is stored or enforced. Start at stockade/main.py; ec2/ are the classic tools.
"""
