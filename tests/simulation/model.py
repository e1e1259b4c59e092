"""What must be true, kept apart from the toolkit: Segment's rules, and what the shop was seen to go through.

Nothing here imports the toolkit. Violations are sentences; no violation is an empty list.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .postscript import FOREIGN, LIST, Entry, Postscript, listed
from .segment import TRAITS

EXIT_CODES = {
    "completed": 0,
    "completed_with_errors": 3,
    "canceled": 130,
    "removal limit": 4,
    "IgnoredFilterError": 4,
    "InvalidAuthenticationError": 5,
    "ShopLockedError": 6,
    "ParameterError": 2,
}
"""How a run ended → its exit code by docs/parameters.md; everything else is 7."""
TRAIT = "trait "
"""Before the name of a trait where the states of traits and audiences lie together."""
Order = tuple[str, str, str]
Pair = tuple[str, str]
"""A subscriber, or a person, and an audience."""


@dataclass(frozen=True, kw_only=True)
class Stated:
    """The latest statement about one person and one audience."""

    order: Order
    member: bool | str
    """Whether a member; the JSON text of a trait's value."""
    run: int
    """Number of the run that brought this value."""
    before: Stated | None = None
    """What that run replaced."""


@dataclass(kw_only=True)
class Memory:
    """What the live runs so far were asked for: the truth that the shop must come to."""

    states: dict[Pair, Stated] = field(default_factory=dict)
    contacts: dict[str, dict[str, tuple[Order, str]]] = field(default_factory=dict)
    ever_contacts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    ever_states: dict[Pair, set[bool | str]] = field(default_factory=lambda: defaultdict(set))
    unsure: set[Pair] = field(default_factory=set)
    """Person and audience of which an interrupted run leaves open whether the state stands."""
    strangers: set[Pair] = field(default_factory=set)
    """Contact and audience of subscribers that no person of a member list reaches."""

    def take(self, events: Iterable[dict[str, Any]], run: int) -> None:
        """Take in what an archive says: the latest by timestamp, arrival and id decides."""
        latest: dict[Pair, tuple[Order, bool | str]] = {}
        for event in events:
            order = (event["timestamp"], event["receivedAt"], event["messageId"])
            person = f"user:{event['userId']}" if "userId" in event else f"anonymous:{event['anonymousId']}"
            traits = event.get("traits") or event.get("context", {}).get("traits") or {}
            for kind in ("phone", "email"):
                if traits.get(kind):
                    self._learn(person, kind, order, traits[kind].lstrip("+").lower())
            about = event.get("context", {}).get("personas", {})
            key = about.get("computation_key")
            member = (event.get("properties") or traits).get(key) if key else None
            if about.get("computation_class") == "computed_trait":
                key, member = f"{TRAIT}{key}", json.dumps(member)
            if isinstance(member, bool | str) and key:
                self.ever_states[person, key].add(member)
                if (person, key) not in latest or order >= latest[person, key][0]:
                    latest[person, key] = (order, member)
        for pair, (order, member) in latest.items():
            self._state(pair, order, member, run)

    def _state(self, pair: Pair, order: Order, member: bool | str, run: int) -> None:
        known = self.states.get(pair)
        if known is None or order > known.order:
            if known is not None and known.member == member:
                self.states[pair] = Stated(order=order, member=member, run=known.run, before=known.before)
            else:
                self.states[pair] = Stated(order=order, member=member, run=run, before=known)

    def take_list(self, key: str, taken: str, listed: dict[str, dict[str, str]], run: int) -> None:
        """Take in a complete member list: who is listed is in, who was in before is out."""
        self.know_list(key, listed)
        for person, contacts in listed.items():
            for kind, value in contacts.items():
                self._learn(person, kind, (taken, taken, "list"), value)
            self._state((person, key), (taken, taken, "list"), member=True, run=run)
        for (person, about), state in [*self.states.items()]:
            if about == key and state.member and person not in listed:
                self._state((person, key), (taken, "", ""), member=False, run=run)

    def know_list(self, key: str, listed: dict[str, dict[str, str]]) -> None:
        """Know of a member list that a run may have acted on."""
        for person, contacts in listed.items():
            self.ever_states[person, key].add(True)
            self.ever_contacts[person] |= {*contacts.values()}

    def note_strangers(self, key: str, shop: Postscript) -> None:
        """Note who is on an audience's list and reached by no person of it."""
        reached = {self.reached_by(person, shop) for person, about in self.states if about == key}
        for who, held in shop.lists().items():
            if key in held and who not in reached:
                self.strangers |= {(contact, key) for contact in shop.contacts_of[who]}

    def is_stranger(self, who: str, key: str, shop: Postscript) -> bool:
        """Tell whether a subscriber has, or had, a contact of a stranger to a member list."""
        return any((contact, key) in self.strangers for contact in shop.contacts_of[who])

    def _learn(self, person: str, kind: str, order: Order, value: str) -> None:
        self.ever_contacts[person].add(value)
        known = self.contacts.setdefault(person, {})
        if kind not in known or order >= known[kind][0]:
            known[kind] = (order, value)

    def take_back(self, run: int) -> None:
        """Undo what a run brought."""
        for pair, state in [*self.states.items()]:
            if state.run == run:
                if state.before is None:
                    del self.states[pair]
                    if pair not in self.unsure:
                        self.ever_states[pair].clear()  # from now on, nothing asks for it
                else:
                    self.states[pair] = state.before

    def pairs_of(self, run: int) -> set[Pair]:
        return {pair for pair, state in self.states.items() if state.run == run}

    def reached_by(self, person: str, shop: Postscript) -> str | None:
        """Return the one subscriber that a person is: by phone, else by an email that only one has."""
        contacts = self.contacts.get(person, {})
        phone, email = (contacts.get(kind, ((), ""))[1] for kind in ("phone", "email"))
        found = [r["id"] for r in shop.shop if phone and (r.get("phone_number") or "").lstrip("+") == phone]
        found = found or [r["id"] for r in shop.shop if email and (r.get("email") or "").lower() == email]
        return found[0] if len(found) == 1 else None

    def wanted(self, shop: Postscript, keys: Collection[str] = ()) -> dict[Pair, bool | str]:
        """Return subscriber × audience or trait → what it is, of all that some person reaches.

        The newest state decides.
        """
        people = {person: self.reached_by(person, shop) for person, _ in self.states}
        found: dict[Pair, tuple[Order, bool | str]] = {}
        unsure: set[Pair] = set()
        for (person, key), state in self.states.items():
            who = people[person]
            if who is None or (keys and key not in keys):
                continue
            if self.is_stranger(who, key, shop) or (person, key) in self.unsure:
                unsure.add((who, key))
            if (who, key) not in found or state.order > found[who, key][0]:
                found[who, key] = (state.order, state.member)
        return {pair: member for pair, (_, member) in found.items() if pair not in unsure}

    def people_near(self, subscriber: str, key: str, shop: Postscript) -> list[str]:
        """Return the people of an audience who ever shared a contact with a subscriber."""
        theirs = shop.contacts_of.get(subscriber, set())
        return [p for p, about in self.ever_states if about == key and self.ever_contacts[p] & theirs]


@dataclass(kw_only=True)
class Account:
    """What the model has seen of one shop's calls, and what it finds wrong."""

    shop: Postscript
    memory: Memory
    seen: int = 0
    open: dict[Pair, list[bool]] = field(default_factory=lambda: defaultdict(list))
    """Changes of a list, oldest first, that no custom event has announced."""
    due: Counter[Pair] = field(default_factory=Counter)
    """Changes made by runs that announce theirs."""
    given: dict[Pair, bool] = field(default_factory=dict)
    """Subscriber and audience → whether the last change that a run made there was to add it."""
    posted: Counter[Pair] = field(default_factory=Counter)
    last_posted: dict[Pair, bool] = field(default_factory=dict)
    muddied: set[Pair] = field(default_factory=set)
    """Subscriber and audience whose custom events an undo or a repeat leaves open."""

    def look(self, *, announces: bool, started: float, is_deceived: bool) -> Iterator[str]:
        """Go through the calls since the last look; yield what is wrong with them."""
        entries = self.shop.entries[self.seen :]
        self.seen = len(self.shop.entries)
        for entry in entries:
            if entry.method == "PATCH" and entry.status == 200 and entry.subscriber:
                yield from self._written(entry, announces, started, is_deceived)
            if entry.method == "POST" and entry.status in {0, 200, 202}:
                yield from self._posted(entry)

    def _written(self, entry: Entry, announces: bool, started: float, is_deceived: bool) -> Iterator[str]:
        who, before, after = str(entry.subscriber), {*listed(entry.before)}, {*listed(entry.after)}
        for key in before ^ after:
            entered = key in after
            if key in FOREIGN:
                moved = any(at >= started - 1 and about == who for at, about in self.shop.foreign_edits)
                if not moved and not is_deceived:
                    yield f"another tool's key {key} of {who} was {'added' if entered else 'lost'}"
                continue
            near = self.memory.people_near(who, key, self.shop)
            if not near:
                yield f"{key} of {who} was {'added' if entered else 'removed'}: no person reaches them"
            elif entered and not any(True in self.memory.ever_states[p, key] for p in near):
                yield f"{key} was added to {who}, which no event asks for"
            self.open[who, key].append(entered)
            self.given[who, key] = entered
            if announces:
                self.due[who, key] += 1
        yield from self._properties_written(entry)

    def _properties_written(self, entry: Entry) -> Iterator[str]:
        who = str(entry.subscriber)
        old, new = ({**(record or {}).get("properties", {})} for record in (entry.before, entry.after))
        for name in sorted({*old, *new} - {LIST}):
            was, now, key = old.get(name), new.get(name), TRAIT + name
            near = self.memory.people_near(who, key, self.shop) if name in TRAITS else []
            if was != now and not any(json.dumps(now) in self.memory.ever_states[p, key] for p in near):
                yield f"property {name} of {who} changed from {was} to {now}, which no event asks for"

    def _posted(self, entry: Entry) -> Iterator[str]:
        who = entry.subscriber
        if who is None or entry.before is None:
            return  # of a subscriber who has gone meanwhile
        key, entered = entry.body["properties"]["Segment Audience Key"], "Entered" in entry.body["type"]
        pair = (who, key)
        if not entry.status:
            self.last_posted.pop(pair, None)  # lost or refused on its way: the next is of either kind
            return
        self.posted[pair] += 1
        if pair in self.muddied:
            return
        name = f"{'entered' if entered else 'exited'} {key} for {who}"
        if (key in listed(entry.before)) != entered:
            yield f"custom event {name} contradicts the list"
        if self.last_posted.get(pair) == entered:
            yield f"custom event {name} twice in a row"
        self.last_posted[pair] = entered
        if entered not in self.open[pair]:
            yield f"custom event {name} without a change, or twice"
            return
        self.open[pair] = self.open[pair][self.open[pair].index(entered) + 1 :]

    def unlisted(self, closed: Counter[Pair]) -> Iterator[str]:
        """Yield the changes whose custom event was neither posted nor is listed in the ledger."""
        for pair, count in self.due.items():
            gone = pair[0] in self.shop.redacted
            if pair not in self.muddied and not gone and self.posted[pair] + closed[pair] < count:
                who, key = pair
                yield (
                    f"{count} changes of {key} for {who}, {self.posted[pair]} custom events posted, "
                    f"{closed[pair]} listed: the others disappeared"
                )

    def near_changes(self, since: float = math.inf) -> set[str]:
        """Return the subscribers that people may reach, or reach no more, because of others.

        Of those who have changed *since* then, and of those who are gone, whenever that was: as nothing dates
        it, a run finds it in turn.
        """
        changed = {who for who, at in self.shop.changed_at.items() if at >= since}
        contacts = {c for who in changed.union(self.shop.redacted) for c in self.shop.contacts_of[who]}
        near = {c for theirs in self.memory.ever_contacts.values() if theirs & contacts for c in theirs}
        return {who for who, known in self.shop.contacts_of.items() if known & near}

    def wrong_lists(self, keys: Collection[str] = (), *, but: Collection[str] = ()) -> Iterator[str]:
        """Yield the subscribers whose list is not what the truth says."""
        lists = self.shop.lists()
        for (who, key), member in sorted(self.memory.wanted(self.shop, keys).items()):
            if who in but:
                continue
            if isinstance(member, str):
                held = (self.shop.record(who) or {})["properties"].get(key.removeprefix(TRAIT))
                if json.dumps(held) != member:
                    yield f"{key} of {who} is {json.dumps(held)}, not {member}"
            elif (key in lists[who]) != member:
                yield f"{who} {'lacks' if member else 'still has'} {key}"

    def left_behind(self) -> Iterator[str]:
        """Yield the audiences that runs gave to subscribers whose people are all other subscribers by now."""
        lists, memory = self.shop.lists(), self.memory
        known = memory.states.keys() - memory.unsure
        for (who, key), entered in sorted(self.given.items()):
            if not entered or key not in lists.get(who, ()) or memory.is_stranger(who, key, self.shop):
                continue
            near = memory.people_near(who, key, self.shop)
            now = {memory.reached_by(person, self.shop) for person in near}
            if known >= {(person, key) for person in near} and not now & {None, who}:
                yield f"{who} still has {key}, and {', '.join(near)} is another subscriber by now"
