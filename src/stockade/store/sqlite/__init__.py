"""The store for one machine: one file, one writer thread, many transactions a commit. Start at store.py."""
