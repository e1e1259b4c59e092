"""The filters by name: those there are, and those Segment has turned off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .date_filters import DATE_FILTERS
from .encoding_filters import ENCODING_FILTERS
from .list_filters import LIST_FILTERS
from .number_filters import NUMBER_FILTERS
from .signature import Filter
from .state import State
from .text_filters import TEXT_FILTERS

DISABLED_FILTERS: Final = frozenset(
    {
        "array_to_sentence_string",
        "concat",
        "find",
        "find_exp",
        "find_index",
        "find_index_exp",
        "group_by",
        "group_by_exp",
        "has",
        "has_exp",
        "map",
        "newline_to_br",
        "reject",
        "reject_exp",
        "reverse",
        "sort",
        "sort_natural",
        "uniq",
        "where_exp",
        "type",
    }
)
"""Filters that raise."""
FILTERS: Final[dict[str, Filter]] = {
    **DATE_FILTERS,
    **ENCODING_FILTERS,
    **LIST_FILTERS,
    **NUMBER_FILTERS,
    **TEXT_FILTERS,
}
"""Filters that work; any other name leaves the value as it is."""


def apply_filter(name: str, value: Any, arguments: Sequence[Any], state: State) -> Any:
    """Return what the filter makes of *value*."""
    if name in DISABLED_FILTERS:
        raise state.refuse(f"Segment has turned the filter {name} off")
    for part in (value, *arguments):
        state.weigh(part)
    return FILTERS[name](value, arguments, state) if name in FILTERS else value
