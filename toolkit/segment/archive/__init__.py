"""Read whole archives through DuckDB, torn lines and damaged files included, in bounded memory.

An archive is a file, a folder or a glob in Segment's S3 layout: newline-delimited JSON, gzip or plain,
told apart by content; files are unordered. Events may also come as dicts or as a DataFrame.
"""

from .archive import Archive, read_events
from .files import SAMPLE

__all__ = ["SAMPLE", "Archive", "read_events"]
