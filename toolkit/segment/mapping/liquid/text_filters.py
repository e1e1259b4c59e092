"""Filters for texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from toolkit.segment.mapping.javascript import WHITESPACE, unit_count, units
from toolkit.segment.mapping.values import MISSING

from .signature import Filter, on_texts
from .state import State
from .values import is_js_true, to_number, whole_number

_SPACES = re.compile(f"[{WHITESPACE}]+")
_CJK: Final = "\u4e00-\u9fff\uf900-\ufaff\u3400-\u4dbf\u3040-\u309f\u30a0-\u30ff\uac00-\ud7af"
_CJK_LETTER = re.compile(f"[{_CJK}]")
_OTHER_WORD = re.compile(f"[^{_CJK}{WHITESPACE}]+")
_NEWLINE = re.compile(r"\r?\n")
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"}
_UNESCAPES: Final = {escape: sign for sign, escape in _ESCAPES.items()}
_UNESCAPED = re.compile("|".join(_UNESCAPES))
_HTML_BLOCKS: Final = (("<script", "</script>"), ("<style", "</style>"), ("<!--", "-->"), ("<", ">"))


def _append(value: Any, arguments: Sequence[Any], state: State) -> str:
    return state.join("", [state.text(value), state.text(_only(arguments, state))])


def _prepend(value: Any, arguments: Sequence[Any], state: State) -> str:
    return state.join("", [state.text(_only(arguments, state)), state.text(value)])


def _only(arguments: Sequence[Any], state: State) -> Any:
    if len(arguments) != 1:
        raise state.refuse("append and prepend take one argument")
    return arguments[0]


def _capitalize(_: State, text: str) -> str:
    first = text[:1]
    # JavaScript sees half a character where a letter is beyond U+FFFF, and leaves it.
    return (first.upper() if first <= "\uffff" else first) + text[1:].lower()


def _escape(_: State, text: str) -> str:
    return text.translate({ord(sign): escape for sign, escape in _ESCAPES.items()})


def _unescape(text: str) -> str:
    return _UNESCAPED.sub(lambda found: _UNESCAPES[found[0]], text)


def _strip_html(_: State, text: str) -> str:
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


def _stripper(strip: Callable[[str, str], str]) -> Filter:
    def function(state: State, text: str, characters: Any) -> str:
        return strip(text, state.text(characters) if is_js_true(characters) else WHITESPACE)

    return on_texts(function, 1)


def _remove(state: State, text: str, part: Any) -> str:
    part = state.text(part)
    return text.replace(part, "") if part else text


def _remove_first(state: State, text: str, part: Any) -> str:
    return text.replace(state.text(part), "", 1)


def _remove_last(state: State, text: str, part: Any) -> str:
    return _replace_last(state, text, part, "")


def _replace(state: State, text: str, part: Any, other: Any) -> str:
    part, other = state.text(part), state.text(other)
    if not part:
        return state.join(other, list(units(text)))
    state.spend(text.count(part) * len(other))
    return text.replace(part, other)


def _replace_first(state: State, text: str, part: Any, other: Any) -> str:
    return text.replace(state.text(part), state.text(other), 1)


def _replace_last(state: State, text: str, part: Any, other: Any) -> str:
    part, other = state.text(part), state.text(other)
    start = text.rfind(part)
    return text if start < 0 else text[:start] + other + text[start + len(part) :]


def _split(state: State, text: str, separator: Any) -> list[str]:
    separator = state.text(separator)
    state.spend_items(text.count(separator))
    parts = text.split(separator) if separator else list(units(text))
    while parts and parts[-1] == "":
        parts.pop()
    return parts


def _squish(_: State, text: str) -> str:
    return _SPACES.sub(" ", text).strip(WHITESPACE)


def _truncate(value: Any, arguments: Sequence[Any], state: State) -> Any:
    length, ending = [*arguments, MISSING, MISSING][:2]
    text = state.text(value)
    ending = "..." if ending is MISSING else state.text(ending)
    wanted = 50.0 if length is MISSING else to_number(length)
    if unit_count(text) <= wanted or whole_number(wanted, len(text)) >= len(text):
        return value
    return state.join("", [text[: whole_number(wanted - len(ending), len(text))], ending])


def _truncate_words(state: State, text: str, count: Any, ending: Any) -> str:
    ending = "..." if ending is MISSING else state.text(ending)
    words = _SPACES.split(text.lstrip(WHITESPACE))
    wanted = 15.0 if count is MISSING else to_number(count)
    wanted = 1.0 if wanted <= 0 else wanted
    shown = " ".join(words[: int(min(wanted, len(words))) if wanted > 0 else 0])
    return shown + ending if len(words) >= wanted else shown


def _number_of_words(_: State, text: str, mode: Any) -> int:
    text = text.strip(WHITESPACE)
    if not text:
        return 0
    letters = len(_CJK_LETTER.findall(text))
    if mode == "cjk" or (mode == "auto" and letters):
        return letters + len(_OTHER_WORD.findall(text))
    return len(_SPACES.split(text))


TEXT_FILTERS: Final[dict[str, Filter]] = {
    "append": _append,
    "capitalize": on_texts(_capitalize),
    "downcase": on_texts(lambda _, text: text.lower()),
    "escape": on_texts(_escape),
    "escape_once": on_texts(lambda state, text: _escape(state, _unescape(text))),
    "lstrip": _stripper(str.lstrip),
    "normalize_whitespace": on_texts(lambda _, text: _SPACES.sub(" ", text)),
    "number_of_words": on_texts(_number_of_words, 1),
    "prepend": _prepend,
    "remove": on_texts(_remove, 1),
    "remove_first": on_texts(_remove_first, 1),
    "remove_last": on_texts(_remove_last, 1),
    "replace": on_texts(_replace, 2),
    "replace_first": on_texts(_replace_first, 2),
    "replace_last": on_texts(_replace_last, 2),
    "rstrip": _stripper(str.rstrip),
    "split": on_texts(_split, 1),
    "squish": on_texts(_squish),
    "strip": _stripper(str.strip),
    "strip_html": on_texts(_strip_html),
    "strip_newlines": on_texts(lambda _, text: _NEWLINE.sub("", text)),
    "truncate": _truncate,
    "truncatewords": on_texts(_truncate_words, 2),
    "upcase": on_texts(lambda _, text: text.upper()),
    "xml_escape": on_texts(_escape),
}
