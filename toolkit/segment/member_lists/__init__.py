"""Snapshots, the complete member lists of audiences at one moment: who is not listed leaves."""

from .reading import read_snapshot
from .snapshot import Snapshot

__all__ = ["Snapshot", "read_snapshot"]
