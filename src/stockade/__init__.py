"""Stockade: EC2's distributed firewall for Linux. Where to start: ARCHITECTURE.md."""

__version__ = "0.1.0"
