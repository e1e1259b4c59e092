"""An archive of Segment events, and the payload rows that a destination makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pandas as pd
import pyarrow as pa

from ..destination import Destination
from ..errors import FileFormatError, InputPathError, ParameterError
from ..events import is_event
from ..inputs import name_of
from .files import check_kind, find_files, is_gzip, make_readable, numbered_lines
from .parts import Parts
from .reading import Reader, read_lines
from .tables import (
    Rows,
    first_rows,
    in_order,
    mark_duplicates,
    payload_frame,
    repeated_events,
    torn_lines,
)

WHOLE_MEMORY: Final = "1GB"
"""What DuckDB may hold while it reads an archive that becomes one frame."""
PARTS_MEMORY: Final = "400MB"
"""What DuckDB may hold while it cuts an archive into parts."""
PART_BYTES: Final = 128 << 20
"""About as many bytes of lines, unpacked, are held at a time where an archive is read by person."""

_PACKED: Final = 8
"""How much smaller gzip makes lines, about."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Segment events, not read before they are asked for."""

    files: tuple[Path, ...] = ()
    root: Path = field(default_factory=Path)
    """Folder the files are named from."""
    given: tuple[Mapping[str, Any], ...] | None = None
    """Events that did not come from files."""

    def payloads(self, destination: Destination | None = None) -> pd.DataFrame:
        """Resolve every event into payloads.

        Parameters
        ----------
        destination
            Whose mappings decide; the default destination when left out.

        Returns
        -------
        DataFrame
            PAYLOAD_COLUMNS, one row an event × mapping, in the order of files and lines. ``status`` is
            null where the event may still decide something. ``line`` counts from 1 and is given for
            lines that cannot be read.

        Raises
        ------
        FileFormatError
            Not one line of the archive is an event.
        """
        destination = destination or Destination.default()
        lines: dict[int, list[int]] = {}
        damaged: set[int] = set()
        if self.given is not None:
            table = _table_of(self.given, destination)
        else:
            with TemporaryDirectory(prefix="archive-") as folder:
                scratch = Path(folder)
                damaged, paths = make_readable(self.files, scratch)
                read = read_lines(
                    Reader.table, paths, destination, memory_limit=WHOLE_MEMORY, scratch=scratch
                )
                table = in_order(read)
                torn = torn_lines(table)
                self._check(len(table), sum(map(len, torn.values())))
                lines = {
                    file: [number for number, _line in numbered_lines(paths[file], ordinals)]
                    for file, ordinals in torn.items()
                }
        table = mark_duplicates(table, repeated_events(first_rows(table)))
        return payload_frame(table, names=self._names(), lines=lines, damaged=damaged)

    def payloads_by_person(
        self, destination: Destination | None = None, *, part_bytes: int = PART_BYTES
    ) -> Iterator[pd.DataFrame]:
        """Resolve every event into payloads, some of the people at a time, in bounded memory.

        Parameters
        ----------
        destination
            Whose mappings decide; the default destination when left out.
        part_bytes
            About how many bytes of lines, unpacked, to hold at a time.

        Yields
        ------
        DataFrame
            Like the frame of `payloads`, with every row of some of the people. ``line`` is not given. An
            archive that is not large comes in one piece.

        Raises
        ------
        FileFormatError
            Not one line of the archive is an event.
        """
        destination = destination or Destination.default()
        count = self._part_count(part_bytes)
        if count == 1:
            yield self.payloads(destination)
            return
        with TemporaryDirectory(prefix="archive-") as folder:
            scratch = Path(folder)
            damaged, paths = make_readable(self.files, scratch)
            parts = Parts(scratch / "parts", count)
            read_lines(parts.write, paths, destination, memory_limit=PARTS_MEMORY, scratch=scratch)
            self._check(parts.rows, parts.torn)
            for table in parts.tables():
                yield payload_frame(table, names=self._names(), lines={}, damaged=damaged)

    def get_event(self, message_id: str = "") -> dict[str, Any]:
        """Return the event with this ``messageId``, or the first there is.

        Raises
        ------
        ParameterError
            No event has it.
        """
        event = self._find_event(message_id)
        if event is None:
            which = f' has the messageId "{message_id}"' if message_id else " can be read"
            raise ParameterError(f"No event of the archive{which}.")
        return event

    def _find_event(self, message_id: str) -> dict[str, Any] | None:
        if self.given is not None:
            events = (dict(event) for event in self.given if is_event(event))
            return next((e for e in events if not message_id or e.get("messageId") == message_id), None)
        with TemporaryDirectory(prefix="archive-") as folder:
            _damaged, paths = make_readable(self.files, Path(folder))
            return read_lines(
                lambda reader: reader.find_event(message_id),
                paths,
                Destination(mappings=()),
                memory_limit=PARTS_MEMORY,
                scratch=Path(folder),
            )

    def _part_count(self, part_bytes: int) -> int:
        if self.given is not None:
            return 1
        size = sum(path.stat().st_size * (_PACKED if is_gzip(path) else 1) for path in self.files)
        return max(1, size // part_bytes)

    def _names(self) -> list[str]:
        return ["(given)"] if self.given is not None else [name_of(path, self.root) for path in self.files]

    def _check(self, rows: int, torn: int) -> None:
        if rows and rows == torn:
            raise FileFormatError(
                f"{name_of(self.files[0], self.root)} is not an archive of Segment calls: no line of it is a "
                "JSON object. Give a file, folder or glob of newline-delimited JSON, gzip or plain."
            )


def _table_of(given: Sequence[Mapping[str, Any]], destination: Destination) -> pa.Table:
    rows = Rows(destination)
    tables = [rows.add(number, 0, event) for number, event in enumerate(given)]
    return pa.concat_tables([*(table for table in tables if table), rows.table()])


def read_events(source: str | Path | pd.DataFrame | Iterable[Mapping[str, Any]]) -> Archive:
    """Open an archive of Segment events.

    Parameters
    ----------
    source
        A file, a folder (read with everything below it), a glob, or ``"sample"`` for the bundled one;
        or events: dicts, or a DataFrame with one column a field (``type``, ``userId``, ``traits``…).

    Returns
    -------
    Archive
        Nothing is read yet but the first bytes of each file.

    Raises
    ------
    InputPathError
        Nothing is there.
    FileFormatError
        A file is of another kind.

    Examples
    --------
    >>> len(read_events([{"type": "track", "event": "Order Completed", "userId": "u1"}]).payloads())
    1
    """
    if isinstance(source, pd.DataFrame):
        return Archive(given=tuple(_events_of(source)))
    if not isinstance(source, str | Path):
        return Archive(given=tuple(source))
    if not str(source).strip():
        raise InputPathError('events_path is empty. Give a file, a folder or a glob, or "sample".')
    root, files = find_files(str(source))
    for path in files:
        check_kind(path, root)
    return Archive(files=tuple(files), root=root)


def _events_of(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Turn rows into events: a null cell is an absent field, a parsed time is text again."""
    for row in frame.to_dict("records"):
        yield {
            str(name): value.isoformat() if isinstance(value, datetime) else value
            for name, value in row.items()
            if not pd.api.types.is_scalar(value) or not pd.isna(value)
        }
