"""Command lines: the classic `ec2-*` tools and `stockade`; each a client of a running daemon.

In: words and environment. Out: lines and an exit code. `ec2` knows nothing of this package's insides and is the
standard library alone, since it must start in 60 ms; `stockade` also starts the daemon. Start at either main.py.
"""
