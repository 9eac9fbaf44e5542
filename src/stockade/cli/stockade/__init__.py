"""The `stockade` command: starts and stops the daemon, and asks it questions.

In: a command line. Out: data on stdout, everything else on stderr, and an exit code of ux.md. Each command's code
is imported when it is called, so that a quick command stays quick. It must not know more of the daemon than its
doors: run, down, settings, the run directory, and HTTP. Start at main.py.
"""
