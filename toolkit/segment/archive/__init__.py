"""Archives of Segment events, and the payload rows that a destination makes of them.

An archive is a file, a folder or a glob in Segment's S3 layout: newline-delimited JSON, gzip or plain, as
the content shows; files are unordered. It is read through DuckDB in bounded memory, torn lines and damaged
files included. Events may also come as dicts or as a DataFrame.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import FileFormatError, InputPathError, ParameterError
from toolkit.segment.destination import Destination
from toolkit.segment.events import is_event
from toolkit.segment.inputs import name_of
from toolkit.segment.payload_rows import (
    ROW_SCHEMA,
    RowBuilder,
    mark_duplicates,
    payload_frame,
    repeated_events,
    row_in_event,
    rows_in_order,
)
from toolkit.statuses import EventStatus

from .files import find_files, make_readable, numbered_lines, open_lines
from .reader import Partitions, Reader, event_of, read_lines

__all__ = ["Archive", "read_events"]

WHOLE_MEMORY: Final = "1GB"
"""What DuckDB may hold while it reads an archive that becomes one frame."""
PARTITIONS_MEMORY: Final = "400MB"
"""What DuckDB may hold while it cuts an archive into partitions."""
PART_BYTES: Final = 128 << 20
"""About as many bytes of lines, unpacked, are held at a time where an archive is read by person."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Segment events, not read before they are asked for."""

    files: tuple[Path, ...] = ()
    root: Path = field(default_factory=Path)
    """Folder the files are named from."""
    given: tuple[Mapping[str, Any], ...] | None = None
    """Events that did not come from files."""

    def payloads(self, destination: Destination | None = None) -> pd.DataFrame:
        """Resolve every event into payloads of *destination*, the default one when left out.

        Raises FileFormatError when not one line of the archive is an event.

        Returns
        -------
        DataFrame
            PAYLOAD_COLUMNS, one row an event × mapping, in the order of files and lines. ``status`` is
            null where the event may still decide something. ``line`` counts from 1 and is given for
            lines that cannot be read.
        """
        (frame,) = self.payloads_by_person(destination, part_bytes=sys.maxsize)
        return frame

    def payloads_by_person(
        self, destination: Destination | None = None, *, part_bytes: int = PART_BYTES
    ) -> Iterator[pd.DataFrame]:
        """Resolve every event into payloads, some of the people at a time, in bounded memory.

        About *part_bytes* of lines, unpacked, are held at a time. Raises FileFormatError as `payloads` does.

        Yields
        ------
        DataFrame
            Like the frame of `payloads`, with every row of some of the people. ``line`` is not given. An
            archive that is not large comes in one piece, as do events that are no files.
        """
        destination = destination or Destination.default()
        if self.given is not None:
            rows = RowBuilder(destination)
            tables = [rows.add(number, 0, event) for number, event in enumerate(map(_plain, self.given))]
            yield self._frame(pa.concat_tables([*filter(None, tables), rows.table()]), {}, set())
            return
        with TemporaryDirectory(prefix="archive-") as folder:
            scratch = Path(folder)
            paths, damaged, size = make_readable(self.files, scratch)
            read = partial(read_lines, paths=paths, destination=destination, scratch=scratch)
            count = size // part_bytes
            if count < 2:
                table = rows_in_order(read(Reader.table, memory_limit=WHOLE_MEMORY))
                torn = _torn_lines(table)
                self._check(len(table), sum(map(len, torn.values())))
                lines = {
                    file: [number for number, _line in numbered_lines(paths[file], ordinals)]
                    for file, ordinals in torn.items()
                }
                yield self._frame(table, lines, damaged)
                return
            cut = Partitions(scratch / "partitions", count)
            written, torn_rows = read(cut.write, memory_limit=PARTITIONS_MEMORY)
            self._check(written, torn_rows)
            for table in cut.tables() if written else [ROW_SCHEMA.empty_table()]:
                yield payload_frame(table, names=self._names(), lines={}, damaged=damaged)

    def _frame(self, table: pa.Table, lines: Mapping[int, list[int]], damaged: Set[int]) -> pd.DataFrame:
        table = mark_duplicates(table, repeated_events(table.filter(pa.array(row_in_event(table) == 1))))
        return payload_frame(table, names=self._names(), lines=lines, damaged=damaged)

    def get_event(self, message_id: str = "") -> dict[str, Any]:
        """Return the event with this ``messageId``, or the first there is; ParameterError without one."""
        for event in self._events(message_id):
            if is_event(event) and message_id in ("", event.get("messageId")):
                return event
        which = f' has the messageId "{message_id}"' if message_id else " can be read"
        raise ParameterError(f"No event of the archive{which}.")

    def _events(self, message_id: str) -> Iterator[Any]:
        """Yield the values of the lines, those left out that cannot have this id."""
        if self.given is not None:
            yield from map(_plain, self.given)
            return
        shown = json.dumps(message_id, ensure_ascii=False)[1:-1].encode("utf-8", "replace")
        with TemporaryDirectory(prefix="archive-") as folder:
            for path in make_readable(self.files, Path(folder))[0]:
                with open_lines(path) as lines:
                    # Parsed only where the id stands as it is, or may be written with escapes.
                    yield from (event_of(line) for line in lines if shown in line or b"\\" in line)

    def _names(self) -> list[str]:
        return ["(given)"] if self.given is not None else [name_of(path, self.root) for path in self.files]

    def _check(self, rows: int, torn: int) -> None:
        if rows and rows == torn:
            raise FileFormatError(
                f"{name_of(self.files[0], self.root)} is not an archive of Segment calls: no line of it is a "
                "JSON object. Give a file, folder or glob of newline-delimited JSON, gzip or plain."
            )


def _torn_lines(table: pa.Table) -> dict[int, list[int]]:
    """Return file → the ordinals, among its lines that are not blank, of those that are no events."""
    places = table.select(["file", "number"]).to_pandas()
    ordinals = places["number"] - places.groupby("file")["number"].transform("min")
    torn = ordinals[pc.equal(table["status"], EventStatus.MALFORMED.value).to_pandas().eq(True)]
    return {int(file): numbers.tolist() for file, numbers in torn.groupby(places["file"])}


def read_events(source: str | Path | pd.DataFrame | Iterable[Mapping[str, Any]]) -> Archive:
    """Open an archive of Segment events; nothing is read yet but the first bytes of each file.

    Parameters
    ----------
    source
        A file, a folder (read with everything below it), a glob, or ``"sample"`` for the bundled one;
        or events: dicts, or a DataFrame with one column a field (``type``, ``userId``, ``traits``…).

    Raises
    ------
    InputPathError
        Nothing is there.
    FileFormatError
        A file is of another kind.
    ParameterError
        *source* is one event, or nothing that holds events.

    Examples
    --------
    >>> len(read_events([{"type": "track", "event": "Order Completed", "userId": "u1"}]).payloads())
    1
    """
    if isinstance(source, pd.DataFrame):
        return Archive(given=tuple(_events_of(source)))
    if not isinstance(source, str | Path):
        if not isinstance(source, Iterable) or isinstance(source, Mapping | bytes):
            raise ParameterError(
                f"read_events() takes a path, a DataFrame or a list of events, not {type(source).__name__}. "
                "Put one event into a list."
            )
        return Archive(given=tuple(cast("Iterable[Any]", source)))
    if not str(source).strip():
        raise InputPathError('events_path is empty. Give a file, a folder or a glob, or "sample".')
    root, files = find_files(str(source))
    return Archive(files=tuple(files), root=root)


def _events_of(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    # A null cell is an absent field.
    for row in frame.to_dict("records"):
        yield {
            str(name): value
            for name, value in row.items()
            if not pd.api.types.is_scalar(value) or not pd.isna(value)
        }


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: numpy's booleans and numbers become Python's, a parsed time text."""
    try:
        if isinstance(value, dict):
            return {key: _plain(inner) for key, inner in value.items()}
        if isinstance(value, list | np.ndarray):
            return [_plain(inner) for inner in value]
    except RecursionError:
        return value  # nested so deep that no rule looks into it
    if isinstance(value, np.generic):
        return value.item()
    return value.isoformat() if isinstance(value, datetime) else value
