"""What the tests of saved plans, undo, drift and audit share: Postscript in memory, and Segment's words."""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from toolkit.audiences.memberships import fold
from toolkit.contacts.bulk import check_contacts
from toolkit.errors import RejectedError
from toolkit.ledger import Ledger
from toolkit.ledger.schema import transitions
from toolkit.postscript.api import AUDIENCES_PROPERTY, Answer, Shop, parse_subscriber
from toolkit.postscript.lookup import Lookup
from toolkit.postscript.subscribers import subscribers_table
from toolkit.segment.archive import read_events
from toolkit.sync.plan import plan
from toolkit.sync.sync import sync

SHOP = Shop(shop_id="shop_1", name="Acme Socks")
OTHER_SHOP = Shop(shop_id="shop_2", name="Other Socks")
FIRST, SECOND, THIRD = (f"2025-03-0{day}T10:00:00Z" for day in (4, 5, 6))


def phone(number):
    return f"+1202555{100 + number:04}"


def email(number):
    return f"u{number}@mail.test"


def find_subscribers(contacts, postscript, *, trait_keys=()):
    """Return the subscribers of these people by lookups, as read_subscribers() makes them."""
    return subscribers_table(Lookup(postscript).find(contacts), trait_keys=trait_keys)


def word(number, key, *, member=True, at=FIRST, **traits):
    """Return an event: person *number* is in or out of the audience."""
    return {
        "type": "identify",
        "messageId": f"{number}-{key}-{member}-{at}",
        "userId": f"u{number}",
        "timestamp": at,
        "receivedAt": at,
        "traits": {key: member, "phone": phone(number), **traits},
        "context": {
            "personas": {"computation_class": "audience", "computation_id": "aud_1", "computation_key": key}
        },
    }


class Store:
    """Postscript in memory. ``fault`` may raise before a request is carried out, ``lost`` after it."""

    def __init__(self, lists, **properties):
        self.people = {}
        self.properties = properties
        for number, held in lists.items():
            self.add(number, held)
        self.sent = []
        self.fault = self.lost = lambda request: None
        self._lock = threading.Lock()

    def add(self, number, held):
        """Let a person subscribe."""
        self.people[f"s_{number}"] = {
            "id": f"s_{number}",
            "phone_number": phone(number),
            "email": email(number),
            "properties": {AUDIENCES_PROPERTY: held, "points": number, **self.properties},
            "created_at": f"2024-01-01T00:00:{number:02}Z",
            "updated_at": FIRST,
        }

    @property
    def calls(self):
        return dict(Counter(request.route for request in self.sent))

    @property
    def writes(self):
        """(subscriber, properties) of each write, in order."""
        return [(r.path.rpartition("/")[2], r.body["properties"]) for r in self.sent if r.method == "PATCH"]

    @property
    def posted(self):
        """(subscriber, audience, direction) of each custom event, in order."""
        return [
            (r.body["subscriber_id"], r.body["properties"]["Segment Audience Key"], r.body["type"][17:])
            for r in self.sent
            if r.method == "POST"
        ]

    def lists(self):
        return {i: row["properties"].get(AUDIENCES_PROPERTY) for i, row in self.people.items()}

    def set_list(self, number, held):
        """Change a list behind the toolkit's back."""
        self.people[f"s_{number}"]["properties"][AUDIENCES_PROPERTY] = held

    def table(self, *trait_keys):
        """Return SUBSCRIBER_COLUMNS of everybody, as a reading would."""
        return subscribers_table(map(parse_subscriber, self.people.values()), trait_keys=trait_keys)

    def send(self, request, *, on_leaving=None):
        if on_leaving:
            on_leaving()
        with self._lock:
            self.fault(request)
            self.sent.append(request)
            found = self._answer(request)
            self.lost(request)
            return Answer(status_code=200, json=found)

    def _answer(self, request):
        if request.path == "/api/v2/me":
            return {"resource_id": SHOP.shop_id, "resource_name": SHOP.name}
        if request.method == "GET" and request.path.count("/") == 3:
            return self._page(request.query)
        if request.method == "POST":
            return {"event_ids": ["e"]}
        row = self.people.get(request.path.rpartition("/")[2])
        if row is None:
            raise RejectedError("404", status_code=404, from_postscript=True)
        if request.method == "PATCH":
            row["properties"] = {**row["properties"], **request.body["properties"]}
        return {**row, "properties": dict(row["properties"])}

    def _page(self, query):
        since = dict(query).get("updated_at__gte", "")
        asked = {value for name, value in query if name.endswith("__in")}
        rows = [row for row in self.people.values() if row["updated_at"] >= since]
        rows = [row for row in rows if not asked or asked & {row["phone_number"][1:], row["email"]}]
        return {"page_info": {"page": 1, "total_pages": 1}, "subscribers": rows}


@cache
def _empty_ledger():
    with tempfile.TemporaryDirectory() as folder:
        Ledger(f"sqlite:///{folder}/ledger.db").close()
        return (Path(folder) / "ledger.db").read_bytes()


def new_ledger(folder):
    """Return a new ledger; copied, because migrations take their time."""
    path = folder / "ledger.db"
    path.write_bytes(_empty_ledger())
    return Ledger(f"sqlite:///{path}")


def fold_events(events, ledger, *, shop=SHOP):
    """Return the folded events, on top of what the ledger remembers."""
    return fold(read_events(events).payloads(), remembered=ledger.load_state(shop.shop_id))


def make_plan(folded, store, **options):
    contacts = check_contacts(folded.state.people)
    found = store.table(*folded.state.trait_keys)
    return plan(folded.state, contacts, found, **{"max_removal_share": 1.0, **options})


def deliver(events, store, ledger, *, dry_run=False, **options):
    """Do what the sync notebook does."""
    folded = fold_events(events, ledger)
    planned = make_plan(folded, store, **options)
    return sync(planned, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=dry_run)


def ends(frame):
    """Return (subscriber, audience or trait) → (status, reason)."""
    about = frame["audience_key"].fillna(frame["trait_key"])
    ended = zip(frame["status"], frame["reason_code"], strict=True)
    return dict(zip(zip(frame["subscriber_id"].fillna(""), about, strict=True), ended, strict=True))


def states(ledger):
    """Return (subscriber, audience) → state of every custom event that the ledger knows."""
    engine = sa.create_engine(ledger.name)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(transitions)).mappings().all()
    engine.dispose()
    return {(row["subscriber_id"], row["audience_key"]): row["state"] for row in rows}
