"""What must not stay in the files of a run: the secrets of the environment, and contacts in clear text.

Files are read a piece at a time, so that their size does not matter.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.files import write_whole

PIECE = 4 << 20
"""Bytes that are read at a time."""
SHORTEST = 8
"""Characters below which a secret is not searched for: it would be found everywhere. No key is so short."""
# [0-9], not \d, and no letter before the plus: 1e+10000000 is a number, and base64 is full of both.
CONTACT = re.compile(
    # Begun only where a word begins: a text of a million letters is looked at once, not from each of them.
    r"(?<![\w.%+-])[\w.%+-]{1,64}@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}"
    r"|(?<![\w+/])\+[1-9][0-9]{7,14}(?![0-9])"
)
"""An email address, or a phone as + and digits. A masked one has a dot before its @, which is no letter."""


def forms_of(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """Return the bytes a secret may be written as, the longest first: plain, in JSON, in a URL, in base64.

    >>> [form.decode() for form in forms_of(["sk_12345"])]
    ['NrXzEyMzQ1', 'c2tfMTIzND', 'za18xMjM0N', 'sk_12345']
    """
    found: set[bytes] = set()
    for secret in secrets:
        if len(secret) >= SHORTEST:
            written = (secret, json.dumps(secret)[1:-1], quote(secret, safe=""))
            found |= {form.encode("utf-8", "surrogatepass") for form in written}
            found |= {*_in_base64(secret.encode("utf-8", "surrogatepass"))}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def _in_base64(secret: bytes) -> Iterator[bytes]:
    """Yield the letters that a base64 text has wherever the secret stands in it, one for each place."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            # A letter holds six bits; the one at either end may hold some of the neighbours' too.
            start, end = -(-8 * before // 6), 8 * (before + len(secret)) // 6
            yield encode(bytes(before) + secret)[start:end]


def hide_secrets(path: Path, forms: Sequence[bytes]) -> str:
    """Take the secret out of a file; return how, empty when it holds none.

    In a text it is replaced by ``***``. Another file is deleted, and so is one that cannot be written again.
    """
    is_text = _is_text(path)
    if not forms or not (_holds(path, forms) or (not is_text and _columns_hold(path, forms))):
        return ""
    if is_text:
        try:
            write_whole(path, lambda temporary: _rewrite(path, temporary, forms))
        except OSError:
            pass
        else:
            return "replaced by ***"
    path.unlink()
    return "file deleted"


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(1 << 16)
    return not start.startswith(b"PAR1") and b"\0" not in start


def _holds(path: Path, forms: Sequence[bytes]) -> bool:
    overlap, kept = len(forms[0]) - 1, b""
    with path.open("rb") as file:
        while read := file.read(PIECE):
            kept += read
            if any(form in kept for form in forms):
                return True
            kept = kept[max(len(kept) - overlap, 0) :]
    return False


def _columns_hold(path: Path, forms: Sequence[bytes]) -> bool:
    """Return True when a column of a Parquet file holds a form: in the file itself they are compressed."""
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=10_000):
            for column in batch.columns:
                shown = column.dictionary if isinstance(column, pa.DictionaryArray) else column
                # All texts of a column lie one after the other, in lists and structures too.
                if any(form in bytes(held) for held in shown.buffers() if held for form in forms):
                    return True
    except (pa.ArrowException, OSError):
        return False  # not Parquet, or torn: its bytes were searched
    return False


def _rewrite(path: Path, target: Path, forms: Sequence[bytes]) -> None:
    overlap, kept = len(forms[0]) - 1, b""
    with path.open("rb") as file, target.open("wb") as written:
        while read := file.read(PIECE):
            kept += read
            for form in forms:
                kept = kept.replace(form, b"***")
            # The last bytes may be the beginning of a form.
            end = max(len(kept) - overlap, 0)
            written.write(kept[:end])
            kept = kept[end:]
        written.write(kept)


def cells_with_contacts(notebook: Path) -> list[int]:
    """Return the numbers, from 1, of the cells of a saved notebook that show a contact in clear text."""
    found, number = set(), 0
    with notebook.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            # Notebooks are saved one text line a line, one space a level: a cell opens at the second.
            number += line == "  {\n"
            if not line.lstrip().startswith('"image/') and CONTACT.search(line):
                found.add(number)
    return sorted(found)
