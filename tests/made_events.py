"""Events as archives hold them and as no one would send them, and destinations with rules of all kinds."""

from __future__ import annotations

import json
import random
from typing import Any

from toolkit.segment.destination import Destination
from toolkit.segment.destination.actions import SYNC_AUDIENCES, SYNC_TRAITS, ActionMapping
from toolkit.segment.mapping import Mapping
from toolkit.segment.triggers import Trigger

TEXTS = (
    "",
    " ",
    "vip",
    "Vip ",
    " dana@mail.test",
    "Dana@Mail.test",
    "İ@mail.test",
    "ß@mail.test",
    "+1 (415) 555-0100",
    "4155550100",
    "5",
    "5.0",
    "1e3",
    "-0",
    "007",
    "12345678901234567890",
    "true",
    "false",
    "null",
    "NaN",
    "Infinity",
    "{}",
    '{"vip":true}',
    "[]",
    '["x"]',
    "a'b",
    'a"b',
    "a\\b",
    "a/b",
    "a~b",
    "a.b",
    "$.a",
    "*",
    "\u00a0x\u3000",
    "\x1fx\u2028",
    "tab\t",
    "line\nbreak",
    "nul\0inside",
    "🎉",
    "e\u0301",
    "x" * 300,
    "audience",
    "identify",
    "Audience Entered",
)
NUMBERS = (0, -0.0, 1, 5, 5.0, 5.5, -3, 1e3, 1e21, 1e-7, 2**53, 2**53 + 1, 2**64, 10**30, 0.1, 1e400)
SCALARS = (*TEXTS, *NUMBERS, True, False, None)
TIMES = (
    "2025-03-04T10:15:00.000Z",
    "2025-03-04T10:15:00Z",
    "2025-03-04T10:15:00.123456Z",
    "2025-03-04 10:15:00.000Z",
    "2025-03-04T10:15:00.000+02:00",
    "2025-03-04",
    "2025-02-30T10:15:00.000Z",
    "2025-03-04T24:00:00.000Z",
    "2025-03-04T10:15:60.000Z",
    "2025-3-4T10:15:00.0000Z",
    "0000-00-00T00:00:00.000Z",
    "0000-01-01T00:00:00.000Z",
    "0000-01-01T00:00:00Z",
    " 025-03-04T10:15:00Z",
    "0001-01-01T00:00:00.000Z",
    "9999-12-31T23:59:59.999Z",
    "+025-03-04T10:15:00.000Z",
    "2025-03-04T 1:15:00.000Z",
    "2025-03-04T10:15:00.  1Z",
    " 2025-03-04T10:15:00.000Z",
    "2025-03-04T10:15:00.000z",
    "2025-03-04t10:15:00.000Z",
    "yesterday",
    "",
    1741083300,
    1741083300000,
    None,
    True,
    {},
)
KEYS = ("vip", "email", "phone", "plan", "a.b", "a/b", "Plan", "length", "0", "name")


def some_value(chance: random.Random, depth: int = 0) -> Any:
    """Return a JSON value, mostly a scalar."""
    roll = chance.random()
    if depth > 2 or roll < 0.8:
        return chance.choice(SCALARS)
    if roll < 0.9:
        return [some_value(chance, depth + 1) for _ in range(chance.randrange(3))]
    return {chance.choice(KEYS): some_value(chance, depth + 1) for _ in range(chance.randrange(3))}


def some_event(chance: random.Random) -> dict[str, Any]:
    """Return an Engage call in which now and then something is not as it should be."""

    def odd(usual: Any, share: float = 0.06) -> Any:
        return some_value(chance) if chance.random() < share else usual

    key = odd(chance.choice(["vip", "churn", "vip customers"]), 0.1)
    known: dict[str, Any] = {}
    if isinstance(key, str) or chance.random() < 0.5:
        known[str(key)] = odd(chance.random() < 0.6, 0.15)
    contact = _some_contact(chance)
    kind = odd(chance.choice(["identify", "track", "identify", "track", "page", "group"]))
    context: dict[str, Any] = {
        "library": {"name": "unknown"},
        "personas": odd(_some_personas(chance, key), 0.04),
    }
    number = chance.randrange(10**6)
    day = chance.randrange(1, 31)
    event: dict[str, Any] = {
        "type": kind,
        "messageId": odd(f"personas_{number}" if chance.random() < 0.8 else f"{number % 99}e-x"),
        "userId": odd(f"cus_{chance.randrange(60)}", 0.15),
        "timestamp": chance.choice([*TIMES, *[f"2025-03-{day:02d}T10:15:00.000Z"] * 100]),
        "receivedAt": chance.choice([*TIMES, *["2025-04-01T00:00:00.000Z"] * 200]),
        "integrations": odd(_some_integrations(chance)),
        "context": odd(context, 0.04),
        "anonymousId": odd("anon-1", 0.3),
    }
    if kind == "identify":
        event["traits"] = odd(known | contact, 0.05)
    else:
        event["event"] = odd(chance.choice(["Audience Entered", "Audience Exited", "Order Completed"]), 0.15)
        event["properties"] = odd(chance.choice([known, known | {"audience_key": key}]), 0.05)
        context["traits"] = odd(contact, 0.05)
    if chance.random() < 0.1:
        event[chance.choice(["properties", "traits"])] = odd({"plan": some_value(chance)}, 0.3)
    gone = {name: 0.6 if name == "anonymousId" else 0.03 for name in event}
    return {name: value for name, value in event.items() if chance.random() >= gone[name]}


def _some_contact(chance: random.Random) -> dict[str, Any]:
    contact: dict[str, Any] = {}
    for name, usual in (("email", "u%d@mail.test"), ("phone", "+1415555%04d")):
        if chance.random() < 0.65:
            contact[name] = some_value(chance) if chance.random() < 0.2 else usual % chance.randrange(40)
    return contact


def _some_personas(chance: random.Random, key: Any) -> dict[str, Any]:
    kinds = [
        "audience",
        "audience",
        "audience",
        "journey_step",
        "computed_trait",
        "trait",
        some_value(chance),
    ]
    personas = {
        "computation_class": chance.choice(kinds),
        "computation_id": some_value(chance) if chance.random() < 0.06 else "aud_1",
        "computation_key": key,
        "namespace": "spa_1",
    }
    if chance.random() < 0.1:
        personas.pop(chance.choice([*personas]))
    return personas


def _some_integrations(chance: random.Random) -> dict[str, Any]:
    if chance.random() < 0.85:
        return {"All": False, "Postscript": True}
    names = ("All", "Postscript", "postscript", "Warehouses")
    return {name: some_value(chance) for name in names if chance.random() < 0.5}


PATHS = (
    "$.traits.email",
    "$.traits.phone",
    "$.context.traits.email",
    "$.context.traits.phone",
    "$.properties.plan",
    "$.traits.plan",
    "$.traits.Plan",
    "$.userId",
    "$.event",
    "$.context.personas.computation_key",
    "$.context.traits",
    "$.context",
    "$.properties.plan.a",
    "$.context.Library.name",
    "$.number",
    "$.file_index",
    "$.traits.length",
    "$.traits.list[0]",
    "$.nope.nope",
)


def some_text(chance: random.Random, depth: int = 0) -> Any:
    """Return a mapping that usually gives a text."""
    roll = chance.random()
    if depth > 2 or roll < 0.35:
        return {"@path": chance.choice(PATHS)}
    inner = some_text(chance, depth + 1)
    if roll < 0.45:
        return {"@case": {"operator": chance.choice(["lower", "upper"]), "value": inner}}
    if roll < 0.6:
        return {
            "@template": "".join(
                chance.choice(["+1", "", "x ", "{{traits.email}}", "{{properties.plan}}", "{{userId}}"])
                for _ in range(3)
            )
        }
    if roll < 0.72:
        pattern = {
            "pattern": chance.choice(["-", " ", "a", "(", "'"]),
            "replacement": chance.choice(["", "+", "$&", "é"]),
        }
        flags = {} if chance.random() < 0.8 else {"ignorecase": True, "global": False}
        second = {} if chance.random() < 0.6 else {"pattern2": ")", "replacement2": ""}
        return {"@replace": {"value": inner, **pattern, **flags, **second}}
    if roll < 0.92:
        test = chance.choice(["exists", "exists", "blank"])
        return {
            "@if": {
                test: {"@path": chance.choice(PATHS)},
                "then": inner,
                "else": some_text(chance, depth + 1),
            }
        }
    return chance.choice(
        [
            "",
            "fixed",
            5,
            True,
            None,
            {"@literal": "lit"},
            {"@liquid": "{{ traits.email }}"},
            {"@json": {"mode": "encode", "value": inner}},
        ]
    )


def some_condition(chance: random.Random, depth: int = 0) -> str:
    """Return a trigger text, as it is meant in the strict dialect."""
    roll = chance.random()
    path = chance.choice(
        [
            "type",
            "event",
            "userId",
            "properties.plan",
            "traits.vip",
            "traits.a\\.b",
            "context.personas.computation_key",
            "traits.email",
            "integrations.All",
            "traits.length",
            "properties.items[0]",
            "messageId",
            "context.nope.x",
        ]
    )
    if depth < 3 and roll < 0.3:
        word = chance.choice([" and ", " or "])
        return "(" + word.join(some_condition(chance, depth + 1) for _ in range(2)) + ")"
    if roll < 0.36:
        return f"!{some_condition(chance, depth + 1)}" if depth < 3 else "type != null"
    text = json.dumps(
        chance.choice(
            ["identify", "track", "Audience *", "*", "a", "5", "true", "vip", "", "é", "A'", "*@mail.test"]
        ),
        ensure_ascii=False,
    )
    if roll < 0.55:
        return f"{chance.choice(['', '!'])}{chance.choice(['contains', 'match'])}({path}, {text})"
    if roll < 0.65:
        return f"{path} {chance.choice(['<', '<=', '>', '>='])} {chance.choice(['0', '5', '5.5', '-3'])}"
    value = chance.choice([text, text, "5", "0", "true", "false", "null"])
    return f"{path} {chance.choice(['=', '!='])} {value}"


def some_destination(chance: random.Random) -> Destination:
    """Return a destination with one to four mappings."""
    mappings = []
    for number in range(chance.choice([1, 1, 2, 4])):
        action = chance.choice([SYNC_AUDIENCES, SYNC_AUDIENCES, SYNC_TRAITS])
        fields = dict(action.default_fields)
        for name in ("email", "phone"):
            if chance.random() < 0.6:
                fields[name] = some_text(chance)
        for field in action.fields:
            if field.type == "string" and field.key.startswith("segment_") and chance.random() < 0.1:
                fields[field.key] = some_text(chance)
        if chance.random() < 0.1:
            fields["traits_or_props"] = {"@path": chance.choice(PATHS)}
        if chance.random() < 0.1:
            fields.pop(chance.choice([*fields]))
        trigger = 'type = "identify" or type = "track"' if chance.random() < 0.4 else some_condition(chance)
        mappings.append(
            ActionMapping(
                name=f"mapping '{number}'",
                trigger=Trigger(trigger, dialect=chance.choice(["strict", "strict", "official"])),
                fields=Mapping(fields),
                enabled=chance.random() < 0.95,
                action=action,
            )
        )
    consent = ("ads",) if chance.random() < 0.1 else ()
    return Destination(mappings=tuple(mappings), consent_categories=consent)
