"""What a destination would do without a word: triggers that Segment misreads, mappings that take no event."""

from __future__ import annotations

import json
from collections.abc import Iterator

from toolkit.segment.mapping.tree import ObjectOf, Raw
from toolkit.segment.triggers.lint import lint_trigger

from .actions import ActionMapping


def lint_mapping(mapping: ActionMapping) -> Iterator[str]:
    """Yield a sentence for each thing to know about an enabled mapping: what happens, and what to write."""
    if not mapping.enabled:
        return
    yield from _lint_fields(mapping)
    if lints := lint_trigger(mapping.trigger.text):
        is_strict = mapping.trigger.dialect == "strict"
        how = "as written, and Segment reads it otherwise" if is_strict else "as Segment reads it"
        found = " ".join(
            dict.fromkeys(f"{lint.sentence[:-1]} (at character {lint.position + 1})." for lint in lints)
        )
        corrected = lints[0].corrected
        yield (
            f'Mapping "{mapping.name}": its trigger is read {how}. {found}'
            + (f" Both read this alike: {corrected}" if corrected else "")
        )


def _lint_fields(mapping: ActionMapping) -> Iterator[str]:
    """Yield a sentence for each field without which no event counts, and that can have no value."""
    tree = mapping.fields.tree
    if not isinstance(tree, ObjectOf):
        return  # made by a directive: it may have any field
    given = dict(tree.members)
    for field in mapping.action.fields:
        filled = given.get(field.key, Raw(value=None))
        if field.required and isinstance(filled, Raw) and filled.value in (None, ""):
            example = json.dumps({field.key: field.default})[1:-1]
            yield (
                f'Mapping "{mapping.name}" has no {field.label} ({field.key}), so no event counts. '
                f"Segment fills it with {example}."
            )
