"""A destination as one query: a row of ROW_COLUMNS for each event × mapping, as `row_of` makes it.

An event *needs Python* where SQL is not exact: its one row then only holds its place, and the Python rules
fill it. A mapping with a directive that SQL lacks leaves every event its trigger takes to Python.

The query is a stack of selects, each adding columns to the one below: columns of the line → needs_python
→ hit (which mapping) → fields → what the fields mean → ROW_COLUMNS.
"""

from __future__ import annotations

import re
from typing import Final

from toolkit.segment.destination import Destination
from toolkit.segment.destination.actions import CLASS_FIELD, REASON_CODES, SYNC_TRAITS, ActionMapping
from toolkit.segment.events import INTEGRATION_NAME, ROW_COLUMNS
from toolkit.segment.javascript import MISSING
from toolkit.segment.mapping.tree import ObjectOf, Raw
from toolkit.statuses import EventStatus

from .json_columns import (
    JsonColumns,
    NotInSQLError,
    has_outer_space,
    may_be_no_text,
    may_differ,
    no_object,
    not_ascii,
    quoted,
    stripped,
)
from .rule_sql import object_sql, text_sql, trigger_sql

NEEDS_PYTHON: Final = "needs_python"
"""Column of the rows: true where the row only holds the place of an event."""
PART: Final = "part"
"""Column of the rows: which of its event's rows this is, from 1."""

_PLACE: Final = -2
_NO_MAPPING: Final = -1
_TYPES: Final = ("track", "identify", "page", "screen", "group", "alias")
_ABSENT: Final = "NULL::VARCHAR"
_TIME_FORMS: Final = {24: "%Y-%m-%dT%H:%M:%S.%gZ", 20: "%Y-%m-%dT%H:%M:%SZ"}
"""Length of the text → its form."""
_FIELDS: Final = ("id", "key", "class", "held", "email", "phone")
"""What the query calls the fields of every action."""
_OF_KIND: Final = re.compile("segment_(?:audience|trait)_")
_CONTACTS: Final = ("email", "phone")
_PERSON: Final = (
    "CASE WHEN user_id IS NOT NULL THEN concat('user:', user_id) "
    "WHEN anonymous_id IS NOT NULL THEN concat('anonymous:', anonymous_id) "
    "WHEN email IS NOT NULL THEN concat('email:', lower(email)) "
    "WHEN phone IS NOT NULL THEN concat('phone:', phone) END"
)
"""As `person_of` names a person."""
_KEY_MARKS: Final = ("/", "~", '"', "\\")
"""What means something in a pointer or in JSON: a key with one of them is left to Python."""


def row_query(destination: Destination) -> RowQuery:
    """Return the query of a destination; one that leaves every event to Python where SQL lacks a trigger."""
    try:
        return RowQuery(destination)
    except NotInSQLError:
        return RowQuery(Destination(mappings=()), fallback="true")


class RowQuery:
    """The query of one destination, over lines that are yet to be named; may raise NotInSQLError."""

    def __init__(self, destination: Destination, *, fallback: str = "false") -> None:
        self.line = JsonColumns()
        self._fallback = [fallback]
        self._event = self._event_columns(destination)
        self._mappings = [self._compiled(m) for m in destination.mappings if m.enabled]

    def for_python(self, lines: str, keep: str) -> str:
        """Return a query for *keep* of those among *lines* that need Python, in their order."""
        return f"SELECT {keep} FROM ({self._events(lines, keep)}) WHERE {NEEDS_PYTHON}"

    def rows(self, lines: str, keep: str) -> str:
        """Return a query for the rows of *lines*, in order: *keep*, NEEDS_PYTHON, PART and ROW_COLUMNS."""
        query = _with(self._events(lines, keep), self._hits())
        query = _with(query, {f"field_{name}": self._by_hit(f"field_{name}") for name in _FIELDS})
        # An event that no mapping took has no contact.
        query = _with(query, {name: stripped(f"field_{name}", given="hit >= 0") for name in _CONTACTS})
        is_ours = f"coalesce(hit >= 0 AND {self._by_hit('is_of_class')}, false)"
        value = _value("field_held", "field_key")
        query = _with(query, {"is_ours": is_ours, "value": value, "person": _PERSON})
        whole = "is_ours AND coalesce(field_key <> '', false) AND field_held IS NOT NULL"
        query = _with(query, {"is_whole": whole})
        is_trait = self._by_hit("is_trait")
        membership = "CASE WHEN value = 'true' THEN true WHEN value = 'false' THEN false END"
        membership = f"CASE WHEN is_whole AND NOT {is_trait} THEN {membership} END"
        query = _with(query, {"membership": membership})
        cells = {**{name: name for name in ROW_COLUMNS}, **self._cells(is_trait)}
        return f"SELECT {keep}, {NEEDS_PYTHON}, {PART}, {_aliased(cells)} FROM ({query})"

    # --- events: what all rows of one share, and whether Python has to decide it

    def _events(self, lines: str, keep: str) -> str:
        takes = {f"takes_{i}": mapping["takes"] for i, mapping in enumerate(self._mappings)}
        events = _with(self.line.select(lines, keep=keep), {**self._event, **takes})
        fallback = [*dict.fromkeys(self._fallback)]
        for i, mapping in enumerate(self._mappings):
            fallback.append(f"(passes AND takes_{i} AND ({mapping['needs_python']}))")
        # As a condition of CASE, and not as a value, it is left early: rows that are settled drop out.
        needs_python = f"CASE WHEN has_broken_path OR {' OR '.join(fallback)} THEN true ELSE false END"
        return _with(events, {NEEDS_PYTHON: needs_python})

    def _event_columns(self, destination: Destination) -> dict[str, str]:
        text = self.line.text
        columns = {
            "message_id": text(("messageId",)),
            "event_type": text(("type",)),
            "event_name": text(("event",)),
            "happened": self._time("timestamp", "happened"),
            "received_at": self._time("receivedAt", "received_at"),
            "user_id": self._id("userId"),
            "anonymous_id": self._id("anonymousId"),
            "passes": self._passes(destination),
        }
        unknown = " AND ".join(f"event_type <> {quoted(kind)}" for kind in _TYPES)
        self._fallback += [
            # Without a messageId the content is hashed; a torn line has none either.
            "(message_id IS NULL OR message_id < '!' OR message_id >= chr(127))",
            may_be_no_text("message_id"),
            f"({unknown} AND {may_be_no_text('event_type')})",
            may_be_no_text("event_name"),
            # The other times stand in only where both are absent.
            "(happened IS NULL AND received_at IS NULL)",
        ]
        return columns

    def _id(self, key: str) -> str:
        text = self.line.text((key,))
        self._fallback.append(
            f"({text} = 'true' OR {text} = 'false' OR {may_differ(text)} OR {has_outer_space(text)})"
        )
        return text

    def _time(self, key: str, time: str) -> str:
        """Return the time of the usual forms, NULL for others, which are left to Python."""
        text = self.line.text((key,))
        self._fallback.append(f"({text} IS NOT NULL AND {time} IS NULL)")
        cases = (
            # In a text so long, to its end, every number has all its digits: strptime takes no more of them.
            # To DuckDB there is a year 0, and a space may stand for a digit of the year.
            f"WHEN strlen({text}) = {length} AND ends_with({text}, 'Z') AND {text} >= '0001' "
            f"THEN try_strptime({text}, '{form}')"
            for length, form in _TIME_FORMS.items()
        )
        return f"CASE {' '.join(cases)} END"

    def _passes(self, destination: Destination) -> str:
        """Return the condition that the event is for Postscript, by the rules of `is_for_postscript`."""
        if destination.consent_categories:
            # An event with preferences is left to Python.
            self._fallback.append(f"{self.line.json(('context', 'consent'))} IS NOT NULL")
        given = self.line.json(("integrations",))
        ours, every = (f"json_extract({given}, '/{key}')::VARCHAR" for key in (INTEGRATION_NAME, "All"))
        # The first is what Engage writes. Ours stands last, before the bracket that closes the whole.
        return (
            f"CASE WHEN ends_with({given}, ',\"{INTEGRATION_NAME}\":true}}') THEN true "
            f"WHEN {given} IS NULL OR {given} = '[]' THEN true "
            f"WHEN {no_object(given)} THEN false "
            f"WHEN {ours} IS NULL THEN {every} IS DISTINCT FROM 'false' "
            f"ELSE {ours} = 'true' OR starts_with({ours}, '{{') END"
        )

    # --- the mapping that took the event, and its fields

    def _hits(self) -> dict[str, str]:
        """Return ``hit``: the number of the mapping, or that there is none, or that the row holds a place."""
        if len(self._mappings) <= 1:
            takes = "takes_0" if self._mappings else "false"
            hit = f"WHEN passes AND {takes} THEN 0 ELSE {_NO_MAPPING}"
            return {"hit": f"CASE WHEN {NEEDS_PYTHON} THEN {_PLACE} {hit} END", PART: "1"}
        each = ", ".join(f"CASE WHEN takes_{i} THEN {i} END" for i, _mapping in enumerate(self._mappings))
        taken = f"list_filter([{each}], lambda hit: hit IS NOT NULL)"
        hits = (
            f"CASE WHEN {NEEDS_PYTHON} THEN [{_PLACE}] WHEN NOT passes OR len({taken}) = 0 "
            f"THEN [{_NO_MAPPING}] ELSE {taken} END"
        )
        return {"hit": f"unnest({hits})", PART: f"generate_subscripts({hits}, 1)"}

    def _by_hit(self, name: str) -> str:
        """Return the expression *name* of the mapping that took the event; any, if none did."""
        cells = {i: mapping[name] for i, mapping in enumerate(self._mappings) if name in mapping}
        if len({*cells.values()}) <= 1:
            return next(iter(cells.values()), _ABSENT)
        return f"CASE hit {' '.join(f'WHEN {i} THEN {expression}' for i, expression in cells.items())} END"

    def _compiled(self, mapping: ActionMapping) -> dict[str, str]:
        """Return the expressions of a mapping; only those of its trigger when its events need Python."""
        name, action = quoted(mapping.name), mapping.action
        found = {"takes": trigger_sql(mapping.trigger.tree, self.line, self._fallback)}
        fallback: list[str] = []
        try:
            fields = self._fields(mapping, fallback)
        except NotInSQLError:
            return {**found, "needs_python": "true"}
        (choices,) = (field.choices for field in action.fields if field.key == CLASS_FIELD)
        return {
            **found,
            **{f"field_{field}": expression for field, expression in fields.items()},
            "needs_python": " OR ".join(dict.fromkeys(fallback)),
            "name": name,
            "is_trait": str(action == SYNC_TRAITS).lower(),
            "is_of_class": f"({' OR '.join(f'field_class = {quoted(choice)}' for choice in choices)})",
            "foreign_reason": quoted(action.foreign_reason),
        }

    def _fields(self, mapping: ActionMapping, fallback: list[str]) -> dict[str, str]:
        if not isinstance(tree := mapping.fields.tree, ObjectOf):
            raise NotInSQLError
        given, found = dict(tree.members), {}
        names = {CLASS_FIELD: "class", "traits_or_props": "held"}
        for field in mapping.action.fields:
            node = given.get(field.key, Raw(value=MISSING))
            to_sql = object_sql if field.type == "object" else text_sql
            name = names.get(field.key) or _OF_KIND.sub("", field.key)
            found[name] = to_sql(node, self.line, fallback)
        # Not given; but so seldom that the column need not be turned into NULLs.
        fallback.append(f"{found['id']} = ''")
        key = found["key"]
        fallback += [f"contains({key}, '{mark}')" for mark in _KEY_MARKS]
        # lower() is Python's for ASCII only.
        email = found["email"]
        fallback.append(f"(user_id IS NULL AND anonymous_id IS NULL AND {not_ascii(email)})")
        if mapping.action == SYNC_TRAITS:
            # Python decides which other values a property can hold, and how they are written.
            plain = quoted(r'^(?:null|true|false|-?[1-9][0-9]{0,14}|0|"[^"\\]*")$')
            fallback.append(f"NOT regexp_matches({_value(found['held'], key)}, {plain})")
        return found

    # --- what the fields mean

    def _cells(self, is_trait: str) -> dict[str, str]:
        of_audience, of_trait = f"is_whole AND NOT {is_trait}", f"is_whole AND {is_trait}"
        outcomes = self._outcomes(is_trait)
        status = " ".join(f"WHEN {condition} THEN {status}" for condition, status, _reason in outcomes)
        reason = " ".join(f"WHEN {condition} THEN {reason}" for condition, _status, reason in outcomes)
        return {
            "mapping": f"CASE WHEN hit >= 0 THEN {self._by_hit('name')} END",
            "status": f"CASE {status} END",
            "reason_code": f"CASE {reason} END",
            "audience_key": f"CASE WHEN {of_audience} THEN field_key END",
            "audience_id": f"CASE WHEN {of_audience} THEN field_id END",
            "trait_key": f"CASE WHEN {of_trait} THEN field_key END",
            "trait_value": f"CASE WHEN {of_trait} THEN nullif(value, 'null') END",
            "timestamp": "coalesce(happened, received_at)",
        }

    def _outcomes(self, is_trait: str) -> list[tuple[str, str, str]]:
        """Return condition, status and reason code: the first condition that holds counts."""
        no_match, filtered, invalid = (
            (quoted(status.value), quoted(REASON_CODES[status]))
            for status in (
                EventStatus.NO_MATCHING_MAPPING,
                EventStatus.FILTERED_INTEGRATIONS,
                EventStatus.INVALID_PAYLOAD,
            )
        )
        foreign = quoted(EventStatus.NOT_AN_AUDIENCE_EVENT.value)
        return [
            ("person IS NOT NULL AND membership IS NOT NULL", "NULL", "NULL"),
            (f"hit = {_NO_MAPPING} AND passes", *no_match),
            (f"hit = {_NO_MAPPING}", *filtered),
            ("NOT is_ours", foreign, self._by_hit("foreign_reason")),
            ("NOT is_whole", *invalid),
            ("person IS NULL", invalid[0], "'NO_PERSON'"),
            (f"{is_trait} AND nullif(value, 'null') IS NULL", "NULL", "'TRAIT_VALUE_MISSING'"),
            (is_trait, "NULL", "NULL"),
            ("value IS NULL", "NULL", "'MEMBERSHIP_MISSING'"),
            ("true", "NULL", "'MEMBERSHIP_NOT_BOOLEAN'"),
        ]


def _with(query: str, columns: dict[str, str]) -> str:
    """Return the query with more columns, which may use those that it has."""
    return f"SELECT *, {_aliased(columns)} FROM ({query})"


def _aliased(columns: dict[str, str]) -> str:
    return ", ".join(f"{expression} AS {name}" for name, expression in columns.items())


def _value(held: str, key: str) -> str:
    """Return the value of the object under the key, as JSON text."""
    # Engage writes the membership last; its comma and the bracket of the whole make it a key of this object.
    last = (
        f"WHEN ends_with({held}, '\":{word}}}') AND ends_with({held}, concat(',\"', {key}, '\":{word}}}')) "
        f"THEN '{word}'"
        for word in ("true", "false")
    )
    # A pointer: as a path, other keys than these would have wildcards.
    return f"CASE {' '.join(last)} ELSE json_extract({held}, concat('/', {key}))::VARCHAR END"
