"""Filters that write a text in another form: URLs, JSON, base64, digests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from toolkit.segment.mapping.javascript import WHITESPACE, whole
from toolkit.segment.mapping.json_text import encode
from toolkit.segment.mapping.values import MISSING

from .signature import Filter, on_texts
from .state import State
from .values import Word, is_js_true, plain, to_number

_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_ENCODED = re.compile("%(?![0-9A-Fa-f]{2})")
_BLANKS: Final = str.maketrans("", "", "\t\n\f\r ")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*\Z")
_UNRESERVED: Final = "!~*'()"
_RESERVED: Final = ";,/?:@&=+$#" + _UNRESERVED
_RAW = re.compile(f"[{WHITESPACE}]+")
_ASCII = re.compile("[^A-Za-z0-9]+")
_ACCENTS: Final = {
    **{
        letter: plain_letters
        for letters, plain_letters in (
            ("àáâãäå", "a"),
            ("æ", "ae"),
            ("ç", "c"),
            ("èéêë", "e"),
            ("ìíîï", "i"),
            ("ð", "d"),
            ("ñ", "n"),
            ("òóôõöø", "o"),
            ("ùúûü", "u"),
            ("ýÿ", "y"),
            ("ß", "ss"),
            ("œ", "oe"),
            ("þ", "th"),
            ("ẞ", "SS"),
            ("Œ", "OE"),
            ("Þ", "TH"),
        )
        for letter in letters
    },
}


def _url_encoded(state: State, text: str, safe: str) -> str:
    text = whole(text)
    if _SURROGATE.search(text):
        raise state.refuse("half a character cannot be written in a URL")
    return quote(text, safe=safe)


def _url_encode(state: State, text: str) -> str:
    return _url_encoded(state, text, _UNRESERVED).replace("%20", "+")


def _url_decode(state: State, text: str) -> str:
    text = text.replace("+", " ")
    if _NOT_ENCODED.search(text):
        raise state.refuse("a % is not followed by two digits")
    if "%" not in text:
        return text
    try:
        # Cut at the encoded parts: what is between them may hold halves of characters.
        return re.sub("(?:%[0-9A-Fa-f]{2})+", lambda found: unquote_to_bytes(found[0]).decode("utf-8"), text)
    except UnicodeDecodeError as error:
        raise state.refuse("the encoded characters are not UTF-8") from error


def _slugify(_: State, text: str, mode: Any, cased: Any) -> str:
    mode = "default" if mode is MISSING else mode
    if mode == "latin":
        text = "".join(_ACCENTS.get(letter, letter) for letter in text)
    if isinstance(mode, str) and mode in ("raw", "default", "pretty", "ascii", "latin"):
        text = _hyphenated(text, mode).removeprefix("-").removesuffix("-")
    return text if is_js_true(cased) else text.lower()


def _hyphenated(text: str, mode: str) -> str:
    if mode in ("raw", "ascii"):
        return (_RAW if mode == "raw" else _ASCII).sub("-", text)
    kept = "._~!$&'()+,;=@" if mode == "pretty" else ""
    hyphened = "".join(sign if sign in kept or _is_letter_or_digit(sign) else "\0" for sign in text)
    return re.sub("\0+", "-", hyphened)


def _is_letter_or_digit(sign: str) -> bool:
    category = unicodedata.category(sign)
    return category[0] in "LM" or category == "Nd"


def _json(value: Any, arguments: Sequence[Any], state: State) -> Any:
    if value is MISSING:
        return MISSING
    if isinstance(value, Word):
        return "{}"
    return encode(value, state.spend, indent=_indent(plain(arguments[0]) if arguments else MISSING))


def _indent(space: Any) -> str:
    if isinstance(space, str):
        return space[:10]
    number = to_number(space) if isinstance(space, int | float) and not isinstance(space, bool) else 0
    return " " * int(min(number, 10)) if number >= 1 else ""


def _base64_decode(state: State, text: str) -> str:
    text = text.translate(_BLANKS)
    text = re.sub("==?$", "", text) if len(text) % 4 == 0 else text
    if len(text) % 4 == 1 or not _BASE64.match(text):
        raise state.refuse("base64_decode was given something else")
    return base64.b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "replace")


def _bytes(text: str) -> bytes:
    return _SURROGATE.sub("\ufffd", whole(text)).encode("utf-8")


def _hmac(state: State, text: str, key: Any) -> str:
    return hmac.new(_bytes(state.text(key)), _bytes(text), hashlib.sha256).hexdigest()


ENCODING_FILTERS: Final[dict[str, Filter]] = {
    "base64_decode": on_texts(_base64_decode),
    "base64_encode": on_texts(lambda _, text: base64.b64encode(_bytes(text)).decode("ascii")),
    "cgi_escape": on_texts(lambda state, text: _url_encoded(state, text, "~").replace("%20", "+")),
    "hmac_sha256": on_texts(_hmac, 1),
    "inspect": _json,
    "json": _json,
    "jsonify": _json,
    "sha256": on_texts(lambda _, text: hashlib.sha256(_bytes(text)).hexdigest()),
    "slugify": on_texts(_slugify, 2),
    "uri_escape": on_texts(lambda state, text: _url_encoded(state, text, _RESERVED + "[]")),
    "url_decode": on_texts(_url_decode),
    "url_encode": on_texts(_url_encode),
}
