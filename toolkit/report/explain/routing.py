"""Whether an event reaches the destination at all, and which rule says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.segment.events import INTEGRATION_NAME, has_consent, is_for_postscript
from toolkit.segment.mapping import kind_of

from .display import Display
from .explanation import Decision


def decide_integrations(event: Mapping[str, Any], display: Display) -> Decision:
    """Return whether the integrations object lets the event through."""
    holds = is_for_postscript(event)
    why = _integrations_rule(event.get("integrations"), display)
    return Decision(holds=holds, sentence=f"{why}, so the event is {'' if holds else 'not '}delivered.")


def _integrations_rule(integrations: Any, display: Display) -> str:
    if not integrations and (integrations is None or isinstance(integrations, list | Mapping)):
        return "The event names no integrations"
    if not isinstance(integrations, Mapping):
        return f"Integrations are {kind_of(integrations)}, which has no documented meaning"
    name = f'"{INTEGRATION_NAME}"'
    if INTEGRATION_NAME in integrations:
        choice = integrations[INTEGRATION_NAME]
        if isinstance(choice, bool):
            return f'{name} is {"true" if choice else "false"}, whatever "All" says'
        if isinstance(choice, Mapping):
            return f"{name} is an object of options, which counts as true"
        return f"{name} is {kind_of(choice)}, which has no documented meaning"
    rule = f'"All" is false and {name} is not named'
    if integrations.get("All") is not False:
        rule = f'neither {name} nor "All" is false'
    alike = next((key for key in integrations if INTEGRATION_NAME.casefold() in key.casefold()), None)
    if alike is not None:
        rule += f" ({display.value(alike)} is not its name, which is told apart by case)"
    return rule[:1].upper() + rule[1:]


def decide_consent(event: Mapping[str, Any], categories: tuple[str, ...], display: Display) -> Decision:
    """Return whether the person consented to every category the destination is mapped to."""
    holds = has_consent(event, categories)
    if not categories:
        return Decision(holds=holds, sentence="The destination is mapped to no consent category.")
    asked = display.text(", ".join(categories))
    lacking = [name for name in categories if not has_consent(event, (name,))]
    if lacking:
        sentence = f"No consent to {display.text(', '.join(lacking))}; asked for: {asked}."
    elif has_consent(event, (*categories, _NO_CATEGORY)):
        sentence = f"The event carries no consent preferences, so none of {asked} is withheld."
    else:
        sentence = f"Consent to {asked}."
    return Decision(holds=holds, sentence=sentence)


_NO_CATEGORY = "\0"
"""A category nobody can have consented to: only an event without any preferences passes with it."""
