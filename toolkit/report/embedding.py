"""Rows and scripts inside an HTML document: compact, and unable to break out of it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

import pandas as pd
from markupsafe import Markup

_NO_MARKUP = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def packed_rows(rows: pd.DataFrame, headings: Mapping[str, str]) -> Markup:
    r"""Return a table of texts as JSON for a script element: of each column the distinct texts, and where.

    A column whose texts all differ needs no places: ``at`` is null.

    >>> print(packed_rows(pd.DataFrame({"a": ["x", "</script>", "x"]}), {"a": "A"}))
    {"count":3,"columns":[{"heading":"A","values":["x","\u003c/script\u003e"],"at":[0,1,0]}]}
    """
    columns = []
    for name, heading in headings.items():
        at, values = pd.factorize(rows[name].to_numpy("object"))
        places = at.tolist() if len(values) < len(at) else None
        columns.append({"heading": heading, "values": [*values], "at": places})
    packed = {"count": len(rows), "columns": columns}
    text = json.dumps(packed, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.translate(_NO_MARKUP))  # noqa: S704 - that is what makes it safe


def script_hash(script: str) -> str:
    """Return the source by which a Content-Security-Policy knows an inline script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
