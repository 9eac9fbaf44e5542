"""Revisions: the total order of changes."""

from typing import NewType

Revision = NewType("Revision", int)
"""A point in the store's order of changes; greater is later. 0 is the empty store."""
