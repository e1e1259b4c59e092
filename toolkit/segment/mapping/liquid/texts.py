"""Filters for texts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from toolkit.frames import SURROGATE
from toolkit.segment.javascript import (
    MISSING,
    WHITESPACE,
    is_truthy,
    number_of,
    unit_count,
    units,
    whole,
)

from .values import Filter, Rendering, on_texts, on_values, whole_number

_SPACES = re.compile(f"[{WHITESPACE}]+")
_NEWLINE = re.compile(r"\r?\n")
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"}
_UNESCAPES: Final = {escape: sign for sign, escape in _ESCAPES.items()}
_UNESCAPED = re.compile("|".join(_UNESCAPES))
_HTML_BLOCKS: Final = (("<script", "</script>"), ("<style", "</style>"), ("<!--", "-->"), ("<", ">"))
_NOT_ENCODED = re.compile("%(?![0-9A-Fa-f]{2})")
_UNRESERVED: Final = "!~*'()"


def _capitalize(_: Rendering, text: str) -> str:
    first = text[:1]
    # JavaScript sees a lone surrogate where a letter is beyond U+FFFF, and leaves it.
    return (first.upper() if first <= "\uffff" else first) + text[1:].lower()


def _escape(_: Rendering, text: str) -> str:
    return text.translate({ord(sign): escape for sign, escape in _ESCAPES.items()})


def _escape_once(rendering: Rendering, text: str) -> str:
    return _escape(rendering, _UNESCAPED.sub(lambda found: _UNESCAPES[found[0]], text))


def _strip_html(_: Rendering, text: str) -> str:
    """Leave tags, comments, scripts and styles out; an opening that is never closed stays."""
    blocks = list(_HTML_BLOCKS)
    kept = []
    done = 0
    while (start := text.find("<", done)) >= 0:
        kept.append(text[done:start])
        done = start
        for opening, closing in [block for block in blocks if text.startswith(block[0], start)]:
            stop = text.find(closing, start + len(opening))
            if stop >= 0:
                done = stop + len(closing)
                break
            blocks.remove((opening, closing))  # nor is it closed further on
        if done == start:
            break
    return "".join([*kept, text[done:]])


def _replace(rendering: Rendering, text: str, part: Any, other: Any) -> str:
    part, other = rendering.text(part), rendering.text(other)
    if not part:
        return rendering.join(other, list(units(text)))
    rendering.spend(text.count(part) * len(other))
    return text.replace(part, other)


def _remove(rendering: Rendering, text: str, part: Any) -> str:
    return text.replace(part, "") if (part := rendering.text(part)) else text


def _replace_first(rendering: Rendering, text: str, part: Any, other: Any) -> str:
    return text.replace(rendering.text(part), rendering.text(other), 1)


def _replace_last(rendering: Rendering, text: str, part: Any, other: Any) -> str:
    start = text.rfind(part := rendering.text(part))
    return text if start < 0 else text[:start] + rendering.text(other) + text[start + len(part) :]


def _split(rendering: Rendering, text: str, separator: Any) -> list[str]:
    separator = rendering.text(separator)
    rendering.spend_items(text.count(separator))
    parts = text.split(separator) if separator else list(units(text))
    while parts and parts[-1] == "":
        parts.pop()
    return parts


def _truncate(rendering: Rendering, value: Any, length: Any, ending: Any) -> Any:
    text = rendering.text(value)
    ending = "..." if ending is MISSING else rendering.text(ending)
    wanted = 50.0 if length is MISSING else number_of(length)
    if unit_count(text) <= wanted or whole_number(wanted, len(text)) >= len(text):
        return value
    return rendering.join("", [text[: whole_number(wanted - len(ending), len(text))], ending])


def _truncate_words(rendering: Rendering, text: str, count: Any, ending: Any) -> str:
    ending = "..." if ending is MISSING else rendering.text(ending)
    words = _SPACES.split(text.lstrip(WHITESPACE))
    wanted = 15.0 if count is MISSING else number_of(count)
    wanted = 1.0 if wanted <= 0 else wanted
    shown = " ".join(words[: int(min(wanted, len(words))) if wanted > 0 else 0])
    return shown + ending if len(words) >= wanted else shown


def _url_encode(rendering: Rendering, text: str) -> str:
    text = whole(text)
    if SURROGATE.search(text):
        raise rendering.refuse("a lone surrogate cannot be written in a URL")
    return quote(text, safe=_UNRESERVED).replace("%20", "+")


def _url_decode(rendering: Rendering, text: str) -> str:
    text = text.replace("+", " ")
    if _NOT_ENCODED.search(text):
        raise rendering.refuse("a % is not followed by two digits")
    if "%" not in text:
        return text
    try:
        # Cut at the encoded parts: what is between them may hold lone surrogates.
        return re.sub("(?:%[0-9A-Fa-f]{2})+", lambda found: unquote_to_bytes(found[0]).decode("utf-8"), text)
    except UnicodeDecodeError as error:
        raise rendering.refuse("the encoded characters are not UTF-8") from error


def _bytes(text: str) -> bytes:
    return SURROGATE.sub("\ufffd", whole(text)).encode("utf-8")


def _hmac(rendering: Rendering, text: str, key: Any) -> str:
    return hmac.new(_bytes(rendering.text(key)), _bytes(text), hashlib.sha256).hexdigest()


def _one_argument(join: Callable[[str, str], tuple[str, str]]) -> Filter:
    def call(rendering: Rendering, value: Any, *arguments: Any) -> str:
        if len(arguments) != 1:
            raise rendering.refuse("append and prepend take one argument")
        return rendering.join("", join(rendering.text(value), rendering.text(arguments[0])))

    return call


def _stripper(strip: Callable[[str, str], str]) -> Filter:
    def function(rendering: Rendering, text: str, characters: Any) -> str:
        return strip(text, rendering.text(characters) if is_truthy(characters) else WHITESPACE)

    return on_texts(function, 1)


TEXT_FILTERS: Final[dict[str, Filter]] = {
    "append": _one_argument(lambda text, other: (text, other)),
    "base64_encode": on_texts(lambda _, text: base64.b64encode(_bytes(text)).decode("ascii")),
    "capitalize": on_texts(_capitalize),
    "downcase": on_texts(lambda _, text: text.lower()),
    "escape": on_texts(_escape),
    "escape_once": on_texts(_escape_once),
    "hmac_sha256": on_texts(_hmac, 1),
    "lstrip": _stripper(str.lstrip),
    "normalize_whitespace": on_texts(lambda _, text: _SPACES.sub(" ", text)),
    "prepend": _one_argument(lambda text, other: (other, text)),
    "remove": on_texts(_remove, 1),
    "remove_first": on_texts(lambda rendering, text, part: _replace_first(rendering, text, part, ""), 1),
    "remove_last": on_texts(lambda rendering, text, part: _replace_last(rendering, text, part, ""), 1),
    "replace": on_texts(_replace, 2),
    "replace_first": on_texts(_replace_first, 2),
    "replace_last": on_texts(_replace_last, 2),
    "rstrip": _stripper(str.rstrip),
    "sha256": on_texts(lambda _, text: hashlib.sha256(_bytes(text)).hexdigest()),
    "split": on_texts(_split, 1),
    "squish": on_texts(lambda _, text: _SPACES.sub(" ", text).strip(WHITESPACE)),
    "strip": _stripper(str.strip),
    "strip_html": on_texts(_strip_html),
    "strip_newlines": on_texts(lambda _, text: _NEWLINE.sub("", text)),
    "truncate": on_values(_truncate, 2),
    "truncatewords": on_texts(_truncate_words, 2),
    "upcase": on_texts(lambda _, text: text.upper()),
    "url_decode": on_texts(_url_decode),
    "url_encode": on_texts(_url_encode),
    "xml_escape": on_texts(_escape),
}
