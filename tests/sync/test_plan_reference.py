"""plan() beside the same rules in plain loops, on random shops: every reason, every write, their order."""

import json
import random

import pandas as pd
from tables import every

from toolkit.audiences.memberships import (
    MEMBERSHIP_COLUMNS,
    PEOPLE_COLUMNS,
    TRAIT_COLUMNS,
    State,
    empty_table,
)
from toolkit.contacts.bulk import check_contacts
from toolkit.postscript.api import Subscriber
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS, subscribers_table
from toolkit.sync.plan import plan
from toolkit.sync.plan.writing import WRITE_COLUMNS, properties_of

LIST = "Segment Audiences"
KEYS = ("a", "b", 'quo"te', "back\\slash", "ключ", ",", "]", '","', " ", "", "tab\t", "\u2028", "a,b")
TRAITS = ("t", 'tr"ait', "имя", " segment audiences", "u")
VALUES = ("1", '"x"', "[]", '["a","é"]', '"quo\\"te"', "true")
OPERATIONS = {"ENTERED": "add", "EXITED": "remove", "TRAIT_NEW_VALUE": "set"}


def some_subscriber(number, chance, emails, phones):
    listed = chance.choices([*KEYS, "x"], k=chance.randrange(1, 12))
    held = chance.choice([None, [], listed, listed, listed, ["half \ud800", *listed], "a", ["a", 7]])
    traits = chance.sample(TRAITS, chance.randrange(3))
    properties = {f"p{n}": n for n in range(chance.choice([0, 0, 3, 3, 47, 48, 49, 50]))}
    properties |= {name: json.loads(chance.choice([*VALUES, "null", "5.5", '{"a":[1]}'])) for name in traits}
    if held is not None or chance.random() < 0.2:
        properties[LIST] = held
    return Subscriber(
        subscriber_id=f"s_{number}",
        phone=chance.choice(["", "0123", *phones[2:]]),
        email=chance.choice(["", *emails[2:]]).title(),
        properties=properties,
        can_send=chance.choice([True, False, None]),
        updated_at="2025-01-02T00:00:00Z",
    )


def some_words(chance, people, names):
    for person in people:
        for name in chance.sample(names, chance.randrange(6)):
            second = chance.randrange(3)
            when = pd.Timestamp("2026-03-01", tz="UTC") + pd.Timedelta(seconds=second)
            yield person, name, pd.NaT if chance.random() < 0.1 else when


def table(rows, columns):
    return pd.DataFrame(rows, columns=[*columns]).astype(columns) if rows else empty_table(columns)


def some_state(chance, people, *, with_traits):
    received = pd.Timestamp("2026-03-02", tz="UTC")
    words = [*some_words(chance, people, KEYS)]
    chance.shuffle(words)
    members = [
        (person, key, f"id {key}", chance.random() < 0.5, when, received, f"m{chance.randrange(5)}")
        for person, key, when in words
    ]
    values = [
        (person, name, chance.choice(VALUES), when, received, f"m{chance.randrange(5)}")
        for person, name, when in some_words(chance, people, TRAITS)
    ]
    known = [(person, email, phone) for person, (email, phone) in people.items()]
    contacts = pd.DataFrame(known, columns=["person", "email", "phone"]).reindex(columns=[*PEOPLE_COLUMNS])
    return State(
        memberships=table(members, MEMBERSHIP_COLUMNS),
        traits=table(values if with_traits else [], TRAIT_COLUMNS),
        people=contacts.astype(PEOPLE_COLUMNS),
    )


def some_case(chance):
    """Return a random state, and the subscribers of a shop; many share a contact or are odd."""
    emails = [None, "n/a", *(f"p{n}@mail.test" for n in range(7))]
    phones = [None, "n/a", *(f"+1415555010{n}" for n in range(7))]
    people = {f"user:{n}": (chance.choice(emails), chance.choice(phones)) for n in range(9)}
    free = phones.copy()
    subscribers = []
    for number in range(chance.randrange(12)):
        one = some_subscriber(number, chance, emails, free if chance.random() < 0.9 else phones)
        free = [phone for phone in free if phone != one.phone]
        subscribers.append(one)
    return some_state(chance, people, with_traits=chance.random() < 0.7), subscribers


# --- the same in plain loops --------------------------------------------------------------------------


def find(email, phone, subscribers):
    """Return the subscriber, how, and no reason; or no one and why."""
    given = [contact for contact in (email, phone) if isinstance(contact, str)]
    if not given or {*given} == {"n/a"}:
        return None, None, "CONTACT_INVALID" if given else "NO_CONTACT"
    hits, method = [s for s in subscribers if s.phone == phone], "phone"
    if not hits:
        hits, method = [s for s in subscribers if s.email.lower() == email], "email"
    if len(hits) == 1:
        return hits[0], method, None
    return None, None, "AMBIGUOUS_MATCH" if hits else "SUBSCRIBER_NOT_FOUND"


def audiences(who):
    held = who.properties.get(LIST) or []
    is_list = isinstance(held, list) and all(isinstance(key, str) for key in held)
    return held if is_list else None


def has_value(who, name, text):
    wanted = json.loads(text)
    if name not in who.properties:
        return wanted == []
    held = who.properties[name]
    return (wanted == [] and held is None) or (held == wanted and type(held) is type(wanted))


def desired(who, row, mode):
    if not row["key"]["trait"]:
        held = audiences(who)
        if held is None:
            return "PROPERTY_NOT_A_LIST"
        listed = row["name"] in held
        if row["member"] == listed:
            return "ALREADY_IN" if listed else "ALREADY_OUT"
        if (mode, listed) in {("add_only", True), ("remove_only", False)}:
            return "NOT_IN_SYNC_MODE"
        if not listed and len(who.properties) >= 50 and LIST not in who.properties:
            return "PROPERTY_LIMIT"
        return "EXITED" if listed else "ENTERED"
    if row["name"].strip().casefold() == LIST.casefold():
        return "TRAIT_NAME_RESERVED"
    if has_value(who, row["name"], row["value"]):
        return "TRAIT_SAME_VALUE"
    return "NOT_IN_SYNC_MODE" if mode == "remove_only" else "TRAIT_NEW_VALUE"


def rows_of(state):
    for frame, is_trait in ((state.memberships, False), (state.traits, True)):
        for row in frame.to_dict("records"):
            name = row["trait_key" if is_trait else "audience_key"]
            when = (row["timestamp"].value if pd.notna(row["timestamp"]) else -1, row["message_id"])
            yield {**row, "name": name, "when": when, "key": {"trait": is_trait}}


def set_room(rows, found):
    """Refuse the new properties for which there is no room; the list of audiences goes first."""
    room = {}
    for row in rows:
        if row["reason"] == "ENTERED" and LIST not in found[row["person"]][0].properties:
            room[found[row["person"]][0].subscriber_id] = 1
    for row in rows:
        who = found[row["person"]][0]
        if row["reason"] == "TRAIT_NEW_VALUE" and row["name"] not in who.properties:
            taken = room.get(who.subscriber_id, 0)
            room[who.subscriber_id] = taken + 1
            if len(who.properties) + taken >= 50:
                row["reason"] = "PROPERTY_LIMIT"


def plain_reasons(state, subscribers, *, keys, skip, mode):
    found = {p.person: find(p.email, p.phone, subscribers) for p in state.people.itertuples()}
    rows = [*rows_of(state)]
    newest = {}
    for row in sorted(rows, key=lambda row: row["when"]):
        newest[
            found[row["person"]][0] and found[row["person"]][0].subscriber_id, row["name"], str(row["key"])
        ] = row
    for row in rows:
        who, _, reason = found[row["person"]]
        if keys and (row["key"]["trait"] or row["name"] not in keys):
            reason = "NOT_CHOSEN"
        elif who and newest[who.subscriber_id, row["name"], str(row["key"])] is not row:
            reason = "SAME_SUBSCRIBER"
        elif who:
            reason = desired(who, row, mode)
            if skip and who.can_send is False and reason in OPERATIONS:
                reason = "OPTED_OUT"
        row["reason"] = reason
    set_room(rows, found)
    return rows, found


def plain_writes(rows, found):
    """Return [(id, before, after, has_removal, property_count, has_property)] in the order of sending."""
    writes = {}
    for row in rows:
        if row["reason"] not in OPERATIONS:
            continue
        who = found[row["person"]][0]
        write = writes.setdefault(who.subscriber_id, {"who": who, "before": {}, "after": {}, "gone": False})
        if row["key"]["trait"]:
            write["after"][row["name"]] = json.loads(row["value"])
            if row["name"] in who.properties:
                write["before"][row["name"]] = who.properties[row["name"]]
            continue
        after = write["after"].setdefault(LIST, [*dict.fromkeys(audiences(who))])
        write["before"][LIST] = audiences(who)
        (after.append if row["reason"] == "ENTERED" else after.remove)(row["name"])
        write["gone"] |= row["reason"] == "EXITED"
    ordered = []
    for gone in (True, False):
        mine = [write for write in writes.values() if write["gone"] == gone]
        probe = next((w for w in mine if {*w["who"].properties} - {LIST}), None)
        ordered += [probe] * (probe is not None) + [write for write in mine if write is not probe]
    return [
        {
            "subscriber_id": write["who"].subscriber_id,
            "before": write["before"],
            "after": write["after"],
            "has_removal": write["gone"],
            "property_count": len(write["who"].properties),
            "has_property": LIST in write["who"].properties,
        }
        for write in ordered
    ]


def as_held(before):
    """Return properties as the mirror has them: what no trait can be is not kept."""
    return {name: {} if isinstance(held, dict | float) else held for name, held in before.items()}


@every("seed", range(250), quick=50)
def test_plan_agrees_with_plain_loops(seed):
    """On any shop, plan() gives the reasons, the writes and the subscribers that plain loops give."""
    chance = random.Random(seed)
    state, subscribers = some_case(chance)
    options = {
        "keys": chance.choice([(), (), {"a", "ключ", ","} & {*state.memberships["audience_key"]}]),
        "skip": chance.random() < 0.3,
        "mode": chance.choice(["mirror", "mirror", "add_only", "remove_only"]),
    }
    frame = subscribers_table(subscribers, trait_keys=state.trait_keys)
    inputs = [state.memberships, state.traits, check_contacts(state.people), frame]
    copies = [one.copy(deep=True) for one in inputs]
    found = plan(
        state,
        *inputs[2:],
        audience_keys=options["keys"],
        skip_opted_out=options["skip"],
        sync_mode=options["mode"],
    )
    rows, who = plain_reasons(state, subscribers, **options)
    assert found.changes["reason_code"].tolist() == [row["reason"] for row in rows]
    assert found.changes["person"].tolist() == [row["person"] for row in rows]
    reported = found.changes["operation"].astype("object").where(found.changes["operation"].notna(), None)
    assert reported.tolist() == [OPERATIONS.get(row["reason"]) for row in rows]
    reached = {who[row["person"]][0].subscriber_id for row in rows if who[row["person"]][0]}
    assert found.subscribers["subscriber_id"].tolist() == [
        s.subscriber_id for s in subscribers if s.subscriber_id in reached
    ]
    assert {**found.subscribers.dtypes.astype("str")} == SUBSCRIBER_COLUMNS
    assert {**found.writes.dtypes.astype("str")} == WRITE_COLUMNS
    written = [
        {**row, "before": properties_of(row["before"]), "after": properties_of(row["after"])}
        for row in found.writes.to_dict("records")
    ]
    expected = [{**row, "before": as_held(row["before"])} for row in plain_writes(rows, who)]
    assert written == expected
    assert [[*row["after"]] for row in written] == [[*row["after"]] for row in expected]
    looked_at = sum(row["reason"] in {"ALREADY_IN", "ENTERED", "EXITED"} for row in rows)
    removes = sum(row["reason"] == "EXITED" for row in rows)
    assert found.removal_share == (removes / looked_at if looked_at else 0)
    for one, copy in zip(inputs, copies, strict=True):
        pd.testing.assert_frame_equal(one, copy)
