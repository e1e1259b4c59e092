"""Read whole archives through DuckDB, torn lines and damaged files included, in bounded memory.

An archive is a file, a folder or a glob in Segment's S3 layout: newline-delimited JSON, gzip or plain,
told apart by content; files are unordered. Events may also come as dicts or as a DataFrame.
"""

from __future__ import annotations

import glob
import gzip
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import duckdb
import pandas as pd

from . import events
from .destination import Destination, Discard, Payload
from .errors import FileFormatError, InputPathError
from .memberships import PAYLOAD_COLUMNS
from .statuses import EventStatus

SAMPLE = "sample"
"""The path that stands for the bundled sample archive."""
ROWS_AT_A_TIME = 20_000
MEMORY_LIMIT = "1GB"
"""What DuckDB may hold while it reads."""
MAX_LINE_BYTES = 64 << 20
"""Longest line that is read: Segment's events have 32 KB, but a torn file may have lost its newlines."""
THREADS = min(os.cpu_count() or 1, 4)
"""Each may need a buffer of two longest lines."""

_NOT_ARCHIVES = {"dummy-object.txt"}
_GZIP = b"\x1f\x8b"
_OTHER_FORMATS = {b"PAR1": "a Parquet file", b"PK\x03\x04": "a zip file", b"\x28\xb5\x2f\xfd": "a zstd file"}


@dataclass(frozen=True, kw_only=True)
class Read:
    """One line of an archive: an event, or what could not be read as one."""

    file: int
    """Position of the file among the archive's files."""
    event: dict[str, Any] | None
    """None when the line is not a JSON object."""


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
            null where the event may still decide a membership. ``line`` counts from 1 and is given for
            lines that cannot be read.

        Raises
        ------
        FileFormatError
            Not one line of the archive is an event.
        """
        rows = _Rows(destination or Destination.default())
        if self.given is not None:
            for event in self.given:
                rows.add(0, event if events.is_event(event) else None)
            return rows.table(["(given)"], {}, set())
        with TemporaryDirectory(prefix="archive-") as scratch:
            damaged, readable = _repair(self.files, Path(scratch))
            for read in _read_files(readable):
                rows.add(read.file, read.event)
            if rows.torn and not rows.events:
                self._refuse()
            lines = {file: _line_numbers(readable[file], torn) for file, torn in rows.torn_in.items()}
        names = [_name(path, self.root) for path in self.files]
        return rows.table(names, lines, damaged)

    def _refuse(self) -> NoReturn:
        raise FileFormatError(
            f"{_name(self.files[0], self.root)} is not an archive of Segment calls: no line of it is a JSON "
            "object. Give a file, folder or glob of newline-delimited JSON, gzip or plain."
        )


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
    root, files = _find_files(str(source))
    for path in files:
        _check_kind(path, root)
    return Archive(files=tuple(files), root=root)


def _events_of(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Turn rows into events: a null cell is an absent field, a parsed time is text again."""
    for row in frame.to_dict("records"):
        yield {
            str(name): value.isoformat() if isinstance(value, datetime) else value
            for name, value in row.items()
            if not pd.api.types.is_scalar(value) or not pd.isna(value)
        }


def _find_files(source: str) -> tuple[Path, list[Path]]:
    """Return the folder that files are named from, and the files, in a stable order."""
    if source == SAMPLE:
        source = str(resources.files("toolkit") / "sample" / "segment-logs")
    path = Path(source).expanduser()
    if path.is_file():
        root, found = path.parent, [path]
    elif path.is_dir():
        root, found = path, [Path(folder, name) for folder, _dirs, names in os.walk(path) for name in names]
    else:
        names = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = [Path(name) for name in names if Path(name).is_file()]
        root = Path(os.path.commonpath([p.parent for p in found])) if found else path
        if not found:
            what = "matches no file" if glob.has_magic(source) else "does not exist"
            raise InputPathError(
                f'events_path "{source}" {what}. Check the path; it is read from {Path.cwd()}.'
            )
    files = sorted(p for p in found if p.name not in _NOT_ARCHIVES and not _is_hidden(p, root))
    if not any(p.stat().st_size for p in files):
        raise InputPathError(f'events_path "{source}" holds no events: there is no file with anything in it.')
    return root, [p for p in files if p.stat().st_size]


def _is_hidden(path: Path, root: Path) -> bool:
    """Tell whether a tool put the file there for itself, such as ``.ipynb_checkpoints``, ``_SUCCESS``."""
    return any(part.startswith((".", "_")) for part in path.relative_to(root).parts)


def _check_kind(path: Path, root: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputPathError(f"{_name(path, root)} cannot be read: {error.strerror}.") from None
    for magic, kind in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise FileFormatError(
                f"{_name(path, root)} is {kind}. Archives are newline-delimited JSON, gzip or plain."
            )


def _name(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def _repair(files: Sequence[Path], scratch: Path) -> tuple[set[int], list[Path]]:
    """Return which files are damaged, and the files to read: a copy where DuckDB cannot read one as it is.

    DuckDB reads a gzip file whose middle is broken up to the break and says nothing, so each is checked
    first: its checksum is at its end. It refuses one that is padded with zeros, which gzip itself allows.
    """

    def readable(numbered: tuple[int, Path]) -> tuple[Path, bool]:
        number, path = numbered
        if not _is_gzip(path):
            return path, False
        copy = scratch / f"{number}.ndjson"
        if not _is_intact(path):
            _salvage(path, copy)
            return copy, True
        if not _ends_in_zeros(path):
            return path, False
        with gzip.open(path) as packed, copy.open("wb") as out:
            shutil.copyfileobj(packed, out)
        return copy, False

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [*pool.map(readable, enumerate(files))]
    damaged = {number for number, (_path, is_damaged) in enumerate(found) if is_damaged}
    return damaged, [path for path, _is_damaged in found]


def _ends_in_zeros(path: Path) -> bool:
    """Tell whether the last eight bytes are zeros: padding, as no checksum and size of anything are."""
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        return file.read() == bytes(8)


def _is_intact(path: Path) -> bool:
    try:
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error):
        return False
    return True


def _salvage(path: Path, copy: Path) -> None:
    """Copy the whole lines of a damaged gzip file, then one line that is no event, so that it is counted."""
    rest = b""
    with copy.open("wb") as out:
        for chunk in _unpacked(path):
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            out.write(whole + newline)
        out.write(b"(the file is damaged from here on)\n")


def _unpacked(path: Path) -> Iterator[bytes]:
    """Unpack a gzip file, member after member, until it ends or fails."""
    unpacker = zlib.decompressobj(wbits=31)  # 31: gzip, its checksum included
    with path.open("rb") as file:
        # Byte by byte: what a failing step had already unpacked is lost.
        while byte := file.read(1):
            if unpacker.eof:
                unpacker = zlib.decompressobj(wbits=31)
            try:
                chunk = unpacker.decompress(byte)
            except zlib.error:
                return
            if chunk:
                yield chunk


def _read_files(paths: Sequence[Path]) -> Iterator[Read]:
    """Read the lines of all files in order; a line that is not JSON comes as a Read without event."""
    numbers = {str(path): number for number, path in enumerate(paths)}
    with duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "threads": THREADS}) as connection:
        connection.execute("SET enable_progress_bar = false")  # it would be printed into the notebook
        for compression in ("gzip", "uncompressed"):
            # Escaped: DuckDB, too, reads brackets and stars in a name as a pattern.
            group = [glob.escape(str(p)) for p in paths if _is_gzip(p) == (compression == "gzip")]
            if not group:
                continue
            # ignore_errors: a line that is not JSON becomes a null instead of ending the query.
            query = (
                "SELECT filename, json::VARCHAR FROM read_ndjson_objects($files, filename = true, "
                "ignore_errors = true, compression = $compression, maximum_object_size = $longest)"
            )
            given = {"files": group, "compression": compression, "longest": MAX_LINE_BYTES}
            try:
                result = connection.execute(query, given)
                while rows := result.fetchmany(ROWS_AT_A_TIME):
                    for name, text in rows:
                        yield Read(file=numbers[name], event=_event_of(text))
            except duckdb.Error as error:
                raise FileFormatError(
                    f"The archive cannot be read: {str(error).splitlines()[0][:200]}"
                ) from None


def _event_of(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return value if events.is_event(value) else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _line_numbers(path: Path, ordinals: Sequence[int]) -> list[int]:
    """Return the line numbers, from 1, of the *ordinals*-th lines that are not blank (counted from 0)."""
    wanted, found, ordinal = set(ordinals), [], 0
    with gzip.open(path) if _is_gzip(path) else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                if ordinal in wanted:
                    found.append(number)
                ordinal += 1
    return found


class _Rows:
    """Collects payload rows column by column, and turns them into a frame."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._chunks: list[pd.DataFrame] = []
        self._rows: list[tuple[Any, ...]] = []
        self._read_in: dict[int, int] = {}
        self.events = 0
        self.torn = 0
        self.torn_in: dict[int, list[int]] = {}
        """File → ordinals, among its lines that are not blank, of those that are not events."""

    def add(self, file: int, event: Mapping[str, Any] | None) -> None:
        """Add the rows of one line."""
        ordinal = self._read_in.get(file, 0)
        self._read_in[file] = ordinal + 1
        number = self.events + self.torn
        if event is None:
            self.torn += 1
            self.torn_in.setdefault(file, []).append(ordinal)
            self._rows.append((number, file, *_TORN))
        else:
            self.events += 1
            common = (
                event.get("type"),
                event.get("event"),
                events.event_time(event),
                events.received_time(event),
            )
            key = events.dedupe_key(event)
            self._rows += [
                (number, file, key, *_row_of(event, outcome), *common)
                for outcome in self._destination.payloads(event)
            ]
        if len(self._rows) >= ROWS_AT_A_TIME:
            self._close_chunk()

    def _close_chunk(self) -> None:
        rows = [[*map(_printable, row)] for row in self._rows]
        frame = pd.DataFrame(rows, columns=["number", "file", *_ROW_COLUMNS])
        for name in ("timestamp", "received_at"):
            frame[name] = pd.to_datetime(frame[name].astype("Int64"), unit="us", utc=True)
        for name in ("event_type", "event_name"):
            frame[name] = [v if isinstance(v, str) else None for v in frame[name]]
        dtypes = {k: v for k, v in PAYLOAD_COLUMNS.items() if k in _ROW_COLUMNS}
        self._chunks.append(frame.astype(dtypes))
        self._rows = []

    def table(
        self, names: Sequence[str], lines: Mapping[int, Sequence[int]], damaged: set[int]
    ) -> pd.DataFrame:
        """Return the frame of PAYLOAD_COLUMNS, duplicates marked."""
        self._close_chunk()
        # Files are read gzip first; rows are told in the order of the files.
        frame = pd.concat(self._chunks).sort_values("file", kind="stable", ignore_index=True)
        frame["line"] = pd.Series(pd.NA, index=frame.index, dtype="Int64")
        torn = frame["status"] == EventStatus.MALFORMED.value
        for file, numbers in lines.items():
            mine = frame.index[torn & (frame["file"] == file)]
            frame.loc[mine, "line"] = numbers
            if file in damaged:
                frame.loc[mine[-1], "reason_code"] = "FILE_DAMAGED"
        _mark_duplicates(frame)
        frame["file"] = pd.Categorical.from_codes(frame["file"].astype("int64"), categories=[*names])
        return frame[[*PAYLOAD_COLUMNS]].astype(PAYLOAD_COLUMNS)


_ROW_COLUMNS = (
    "message_id",
    "mapping",
    "status",
    "reason_code",
    "person",
    "audience_key",
    "audience_id",
    "membership",
    "email",
    "phone",
    "event_type",
    "event_name",
    "timestamp",
    "received_at",
)
_TORN = (None, None, EventStatus.MALFORMED.value, "NOT_JSON", *[None] * 10)


def _printable(value: Any) -> Any:
    """Replace lone surrogates, which no UTF-8 file or database can hold."""
    return (
        value.encode("utf-8", "replace").decode() if isinstance(value, str) and not value.isascii() else value
    )


def _row_of(event: Mapping[str, Any], outcome: Payload | Discard) -> tuple[Any, ...]:
    """Return mapping to phone, in the order of _ROW_COLUMNS."""
    person = events.person_of(event, outcome.email, outcome.phone)
    if isinstance(outcome, Discard):
        reason = (outcome.mapping or None, outcome.status.value, outcome.reason_code)
        return (*reason, person, None, None, None, outcome.email, outcome.phone)
    status, reason_code = None, None
    if person is None:
        status, reason_code = EventStatus.INVALID_PAYLOAD.value, "NO_PERSON"
    elif outcome.membership is None:
        told = outcome.segment_audience_key in outcome.traits_or_props
        reason_code = "MEMBERSHIP_NOT_BOOLEAN" if told else "MEMBERSHIP_MISSING"
    return (
        outcome.mapping,
        status,
        reason_code,
        person,
        outcome.segment_audience_key,
        outcome.segment_audience_id,
        outcome.membership,
        outcome.email,
        outcome.phone,
    )


def _mark_duplicates(frame: pd.DataFrame) -> None:
    """Give every repetition of a message its status; the copy received first is the one that counts.

    One that was meant for Postscript goes before one that was not: a replay names other destinations.
    """
    messages = frame.loc[frame["message_id"].notna(), ["number", "message_id", "status", "received_at"]]
    filtered = [EventStatus.FILTERED_INTEGRATIONS.value, EventStatus.FILTERED_CONSENT.value]
    messages["filtered"] = messages["status"].isin(filtered)
    messages = messages.drop_duplicates("number").sort_values(["filtered", "received_at"], kind="stable")
    repeated = messages.loc[messages["message_id"].duplicated(), "number"]
    rows = frame["number"].isin(repeated)
    frame.loc[rows, "status"] = EventStatus.DUPLICATE.value
    frame.loc[rows, "reason_code"] = "DUPLICATE_MESSAGE_ID"
    frame.loc[rows, "membership"] = pd.NA
