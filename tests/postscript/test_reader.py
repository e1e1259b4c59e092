"""Reading subscribers: the cheapest way, and no one lost by it."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import pandas as pd
import pytest

from toolkit.contacts.bulk import check_contacts
from toolkit.errors import IgnoredFilterError, ParameterError, RejectedError, ServerError
from toolkit.postscript import api
from toolkit.postscript.api import ONE_BY_ONE, Answer, QueryEncoding
from toolkit.postscript.client import PostscriptClient
from toolkit.postscript.listing import ListedRows
from toolkit.postscript.lookup import Lookup, find_subscriber
from toolkit.postscript.reader import TURNS, read_subscribers
from toolkit.postscript.subscribers import SubscriberCache, renewed, subscribers_table
from toolkit.sandbox import Sandbox

SHOP = "shop_sandbox"


def phone(number):
    return f"+1{200 + number // 100}55501{number % 100:02}"


def person(number, **fields):
    minute = f"2026-01-01T{number // 60 % 24:02}:{number % 60:02}:00Z"
    return {
        "id": f"s_{number}",
        "phone_number": phone(number),
        "email": f"p{number}@mail.test",
        "created_at": minute,
        "updated_at": minute,
        **fields,
    }


def newcomer(number):
    """Return someone who signs up now."""
    return {name: value for name, value in person(number).items() if not name.endswith("_at")}


@cache
def _contacts_of(numbers, emails):
    rows = [
        {
            "person": f"user:u{n}",
            "phone": None if emails else phone(n),
            "email": f"p{n}@mail.test" if emails else None,
        }
        for n in numbers
    ]
    return check_contacts(pd.DataFrame(rows, columns=["person", "phone", "email"]).astype("str"))


def contacts_of(numbers, *, emails=False):
    return _contacts_of(tuple(numbers), emails).copy()


class Moving:
    """A shop whose list changes between two pages, in whatever way a function changes it."""

    def __init__(self, people, change, page_size=10):
        self.people = {p["id"]: p for p in people}
        self.change, self.page_size = change, page_size
        self.asked = []
        self._lock = threading.Lock()

    @property
    def calls(self):
        return {}

    def now(self):
        return f"2026-04-01T00:00:{len(self.asked) % 60:02}Z"

    def add(self, *people):
        """Let people sign up now, unless they have times."""
        for each in people:
            self.people[each["id"]] = {"created_at": self.now(), "updated_at": self.now(), **each}

    def asked_for(self, query):
        kinds = {True: ("email__in", "email__eq"), False: ("phone_number__in", "phone_number__eq")}
        return [value for name, value in query if name in kinds["@" in value]]

    def cut(self, rows):
        return rows

    def show(self, number, rows, total):
        """Return what a page of the list shows, and the number of pages it names."""
        return rows, total

    def send(self, request, *, on_leaving=None):
        with self._lock:
            query = dict(request.query)
            self.asked.append(query)
            self.change(self, len(self.asked))
            if request.method == "PATCH":
                self.people[request.path.rpartition("/")[2]] |= {**request.body, "updated_at": self.now()}
                return Answer(status_code=200)
            if not query:
                row = self.people.get(request.path.rpartition("/")[2])
                if row is None:
                    raise RejectedError("404", status_code=404, from_postscript=True)
                return Answer(status_code=200, json=row)
            asked = {*self.asked_for(request.query)}
            rows = [p for p in self.people.values() if p["updated_at"] >= query.get("updated_at__gte", "")]
            if asked:
                rows = self.cut([p for p in rows if {p["phone_number"][1:], p["email"]} & asked])
            field, _, direction = query["sort"].rpartition("__")
            rows.sort(key=lambda p: (p[field], p["id"]), reverse=direction == "desc")
            page = int(query["page"])
            shown = rows[(page - 1) * self.page_size : page * self.page_size]
            total = max(1, -(-len(rows) // self.page_size))
            if not asked:
                shown, total = self.show(page, shown, total)
            return Answer(
                status_code=200,
                json={"page_info": {"page": page, "total_pages": total}, "subscribers": shown},
            )


class Shop(Moving):
    """A shop that stands still, and what was asked since the last look."""

    def __init__(self, people):
        super().__init__(people, lambda *_: None, page_size=50)
        self.client, self._seen = self, 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def queries(self):
        new, self._seen = self.asked[self._seen :], len(self.asked)
        return new

    def redact(self, *ids):
        for subscriber_id in ids:
            self.people.pop(subscriber_id)


class HttpShop:
    """A sandbox with a connection."""

    def __init__(self, people, **knobs):
        self.sandbox = Sandbox(people, rate=100_000, **knobs)

    def __enter__(self):
        self.sandbox.__enter__()
        self.client = PostscriptClient(self.sandbox.base_url, "sk_sandbox", requests_per_second=5000)
        return self

    def __exit__(self, *error):
        self.client.close()
        self.sandbox.__exit__(*error)


def ids(fetched):
    return sorted(fetched.subscribers["subscriber_id"])


# --- which way --------------------------------------------------------------------------------------------


def test_a_shop_of_one_page_is_read_in_one_call():
    """One page shows everybody; the second query is whether there is another."""
    with Shop([person(n) for n in range(20)]) as shop:
        fetched = read_subscribers(contacts_of(range(500)), shop.client)
        assert ids(fetched) == sorted(f"s_{n}" for n in range(20))
        assert fetched.method == "listing"
        assert fetched.cache.is_complete
        assert len(shop.queries()) == 2 == fetched.estimates["listing"]
        assert fetched.estimates["lookups"] == 2 + 5
        both = contacts_of(range(500)).assign(
            email_clean=lambda frame: frame["person"].where(frame.index < 150)
        )
        mixed = pd.concat([both, contacts_of(range(500, 600), emails=True)], ignore_index=True)
        # A hundred by email alone, and by email too the 150 whose phones will find hardly any subscriber.
        assert read_subscribers(mixed, shop.client).estimates["lookups"] == 2 + 5 + 3


def test_many_people_of_a_small_shop_are_read_by_listing():
    """Eight pages of subscribers cost less than six hundred lookups."""
    with Shop([person(n) for n in range(360)]) as shop:
        fetched = read_subscribers(contacts_of(range(600)), shop.client)
        assert fetched.method == "listing"
        assert len(fetched.subscribers) == 360
        # The first look, the way to ask, eight pages, the last of them twice, and what changed meanwhile.
        assert len(shop.queries()) == 2 + 8 + 2 == fetched.estimates["listing"]


def test_few_people_of_a_large_shop_are_looked_up():
    """Sixty people cost one query, however large the shop is."""
    with Shop([person(n) for n in range(1000)]) as shop:
        fetched = read_subscribers(contacts_of(range(960, 1020)), shop.client)
        assert fetched.method == "lookups"
        assert len(fetched.subscribers) == 40
        assert not fetched.cache.is_complete
        assert len(shop.queries()) == 3
        assert fetched.estimates["lookups"] == 4 < fetched.estimates["listing"]


def test_everybody_on_request():
    """A snapshot needs who matches no contact, too: the whole list is read then."""
    with Shop([person(n) for n in range(300)]) as shop:
        fetched = read_subscribers(contacts_of([1]), shop.client, complete=True)
        assert len(fetched.subscribers) == 300
        assert fetched.cache.is_complete


def test_an_empty_shop():
    """No one subscribes yet."""
    with Shop([]) as shop:
        fetched = read_subscribers(contacts_of(range(3)), shop.client)
        assert fetched.subscribers.empty
        assert fetched.cache.newest == ""


def test_no_such_scope():
    """A misspelt scope is reported."""
    with pytest.raises(ParameterError, match="incremental"):
        read_subscribers(contacts_of([]), None, scope="all")


# --- the cache --------------------------------------------------------------------------------------------


def read_and_save(contacts, shop, ledger, **options):
    fetched = read_subscribers(contacts, shop.client, cache=ledger.load_cache(SHOP), **options)
    ledger.save_cache(SHOP, fetched)
    ledger.judge_mirror(SHOP, is_dated=True)  # as the first write does
    return fetched


def test_a_cache_that_no_write_has_proved_is_read_anew(ledger):
    """Whether changes show in ``updated_at`` is not known before one was seen there."""
    with Shop([person(n) for n in range(60)]) as shop:
        for _ in range(2):
            fetched = read_subscribers(contacts_of(range(60)), shop.client, cache=ledger.load_cache(SHOP))
            ledger.save_cache(SHOP, fetched)
            assert fetched.method != "changes"


def test_a_cache_is_renewed_by_few_calls(ledger):
    """The second run asks who changed, and for a part of the people; a late subscriber is among them."""
    people = contacts_of(range(400))
    with Shop([person(n) for n in range(300)]) as shop:
        first = read_and_save(people, shop, ledger)
        shop.queries()
        again = read_and_save(people, shop, ledger)
        assert again.method == "changes"
        # What changed, how to ask, and two pages of some people.
        assert len(shop.queries()) == 4 == again.estimates["changes"]
        assert ids(again) == ids(first)
        shop.add(newcomer(350))
        late = read_and_save(people, shop, ledger)
        assert len(shop.queries()) <= 4
        assert {*ids(late)} - {*ids(first)} == {"s_350"}
        assert late.cache.newest > again.cache.newest  # the next reading starts there
        assert ids(late) == sorted(ledger.load_cache(SHOP).subscribers["subscriber_id"])


def test_a_cache_of_lookups_is_renewed_too(ledger):
    """Sixty people are one query again; who subscribes late is found."""
    with Shop([person(n) for n in range(1000)]) as shop:
        read_and_save(contacts_of(range(960, 1020)), shop, ledger)
        shop.queries()
        read_and_save(contacts_of(range(960, 1020)), shop, ledger)
        assert [{*query} for query in shop.queries()] == [
            {"updated_at__gte", "sort", "page"},
            *[{"phone_number__in", "sort", "page"}] * 2,
        ]
        shop.add(newcomer(1019))
        fetched = read_and_save(contacts_of(range(950, 1020)), shop, ledger)
        assert {"s_1019", "s_951"} <= {*ids(fetched)}
        assert len(fetched.cache.asked) == 70


def test_a_list_that_was_changed_elsewhere_is_seen(ledger):
    """What another tool wrote shows up as changed."""
    with Shop([person(n) for n in range(120)]) as shop:
        read_and_save(contacts_of(range(120)), shop, ledger)
        shop.client.send(api.write_properties("s_7", {"Segment Audiences": ["theirs"]}))
        fetched = read_and_save(contacts_of(range(120)), shop, ledger)
        held = fetched.subscribers.set_index("subscriber_id")["audiences"]
        assert held["s_7"] == '["theirs"]'


def test_many_changes_are_read_to_the_end(ledger):
    """Several pages of changes are read from the last to the first, and none is lost."""
    with Shop([person(n) for n in range(400)]) as shop:
        read_and_save(contacts_of(range(400)), shop, ledger, complete=True)
        for n in range(0, 400, 2):
            shop.client.send(api.write_properties(f"s_{n}", {"Segment Audiences": ["new"]}))
        shop.queries()
        fetched = read_and_save(contacts_of(range(400)), shop, ledger)
        assert fetched.method == "changes"
        assert Counter(fetched.subscribers["audiences"]) == {'["new"]': 200, "[]": 200}
        assert len(shop.queries()) <= fetched.estimates["changes"] == 9


def test_a_full_refresh_on_request(ledger):
    """Scope full reads the list anew, and who is not there any more is gone."""
    with Shop([person(n) for n in range(120)]) as shop:
        read_and_save(contacts_of(range(120)), shop, ledger)
        shop.redact("s_5")
        assert "s_5" not in ids(read_and_save(contacts_of(range(120)), shop, ledger, scope="full"))
        assert "s_5" not in {*ledger.load_cache(SHOP).subscribers["subscriber_id"]}


@pytest.mark.parametrize(
    ("size", "people", "complete"),
    [(20, range(20), False), (160, range(40), True), (1000, range(60), False)],
    ids=["one page", "complete", "lookups"],
)
def test_a_deleted_subscriber_shadows_no_other(ledger, size, people, complete):
    """Who was found by the phone of one who is deleted is found by email as another."""
    known = contacts_of(people)
    known.loc[1, ["email", "email_clean"]] = "p19@mail.test"
    with Shop([person(n) for n in range(size)]) as shop:
        read_and_save(known[known.index != 19], shop, ledger, complete=complete)
        shop.redact("s_1")
        shop.queries()
        found = ids(read_and_save(known[known.index != 19], shop, ledger))
        assert "s_1" not in found
        assert "s_19" in found
        assert "s_1" not in {*ledger.load_cache(SHOP).subscribers["subscriber_id"]}
        assert len(shop.queries()) <= 9


@pytest.mark.parametrize("complete", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_who_is_deleted_is_noticed_within_some_runs(ledger, complete):
    """A part of the people is looked up again each time, in as many parts as there are turns."""
    people = contacts_of(range(300))
    with Shop([person(n) for n in range(300 if complete else 1500)]) as shop:
        read_and_save(people, shop, ledger, complete=complete)
        shop.redact("s_3", "s_100", "s_151")  # of three parts
        for _ in range(TURNS):
            shop.queries()
            fetched = read_and_save(people, shop, ledger)
            assert fetched.method == "changes"
            assert len(shop.queries()) <= 8
        assert len({*ids(fetched)} & {f"s_{n}" for n in range(300)}) == 297


@pytest.mark.parametrize("complete", [True, False])
def test_who_was_wrongly_taken_for_gone_is_found_again(ledger, complete):
    """Whoever is forgotten is looked up again by the next run."""
    people = contacts_of(range(300))
    with Shop([person(n) for n in range(300 if complete else 1500)]) as shop:
        read_and_save(people, shop, ledger, complete=complete)
        for n in range(0, 300, 25):
            ledger.forget_subscriber(SHOP, f"s_{n}")
        assert len(ledger.load_cache(SHOP).doubted) == 24
        assert {*ids(read_and_save(people, shop, ledger))} >= {f"s_{n}" for n in range(300)}
        assert not ledger.load_cache(SHOP).doubted


@pytest.mark.parametrize("other", [None, {"id": "s_else", "phone_number": phone(3)}])
def test_a_read_that_is_refused_takes_no_one_for_gone(ledger, other):
    """Only Postscript's own answer about that subscriber counts, not one about another."""
    with Shop([person(n) for n in range(160)]) as shop:
        read_and_save(contacts_of(range(40)), shop, ledger, complete=True)
        cache = ledger.load_cache(SHOP)
        send = shop.client.send

        def in_part(request):
            if request.path.endswith("s_3"):
                if other:
                    return Answer(status_code=200, json=other)
                raise RejectedError("404", status_code=404)
            answer = send(request)
            rows = [row for row in answer.json["subscribers"] if row["id"] != "s_3"]
            return replace(answer, json={**answer.json, "subscribers": rows})

        behind = SimpleNamespace(calls={}, send=in_part)
        fetched = read_subscribers(contacts_of(range(40)), behind, cache=cache)
        assert ids(fetched) == sorted(f"s_{n}" for n in range(160))
        assert fetched.notes == ("Subscribers that could not be read by id, and stay as they were known: 1.",)


def test_a_dry_run_renews_a_cache_that_no_write_has_proved(ledger):
    """It writes nothing that could rest on it; a live run reads anew."""
    with Shop([person(n) for n in range(160)]) as shop:
        ledger.save_cache(SHOP, read_subscribers(contacts_of(range(40)), shop.client, complete=True))
        cache = ledger.load_cache(SHOP)
        methods = [
            read_subscribers(contacts_of(range(40)), shop.client, cache=cache, dry_run=dry_run).method
            for dry_run in (True, False)
        ]
        assert methods == ["changes", "lookups"]


def test_another_trait_means_reading_anew(ledger):
    """A cache that lacks a property of the traits is not enough."""
    with Shop([person(n, properties={"orders": n}) for n in range(60)]) as shop:
        read_and_save(contacts_of(range(60)), shop, ledger)
        fetched = read_and_save(contacts_of(range(60)), shop, ledger, trait_keys=("orders",))
        assert fetched.method != "changes"
        assert fetched.subscribers["properties"].notna().all()
        assert read_and_save(contacts_of(range(60)), shop, ledger, trait_keys=("orders",)).method == "changes"


def test_a_phone_belongs_to_one_subscriber():
    """Someone who left and came back has another id: the older one is not there any more."""
    before = subscribers_table(api.parse_subscriber(person(n)) for n in range(3))
    read = subscribers_table([api.parse_subscriber(person(1, id="s_new"))])
    everybody, gone = renewed(before, read)
    assert sorted(everybody["subscriber_id"]) == ["s_0", "s_2", "s_new"]
    assert gone == ("s_1",)
    assert renewed(before, before)[1] == ()
    assert len(renewed(SubscriberCache().subscribers, before)[0]) == 3


# --- a list that moves ------------------------------------------------------------------------------------


def test_that_most_are_deleted_is_noticed(ledger):
    """Where a lookup finds less than half of those who were there, each of the others is looked for by id."""
    with Shop([person(n) for n in range(160)]) as shop:
        read_and_save(contacts_of(range(20)), shop, ledger, complete=True)
        shop.redact(*(f"s_{n}" for n in range(15)))
        assert ids(read_and_save(contacts_of(range(20)), shop, ledger)) == sorted(
            f"s_{n}" for n in range(15, 160)
        )


class Cutting(Moving):
    """A shop that answers only a part of a long query."""

    def __init__(self, people, kind, most):
        super().__init__(people, lambda shop, call: None, page_size=50)
        self.kind, self.most = kind, most

    def asked_for(self, query):
        values = super().asked_for(query)
        kept = {"values": values[: self.most], "last values": values[-self.most :]}
        return kept.get(self.kind, values)

    def cut(self, rows):
        return rows[: self.most] if self.kind == "rows" else rows


@pytest.mark.parametrize("victim", [0, 15, 55, 99])
@pytest.mark.parametrize("at", [3, 4, 7, 11, 13])
def test_no_one_is_lost_when_a_subscriber_is_removed_meanwhile(victim, at):
    """A removal moves everybody behind it to another page; all the others are found all the same."""

    def change(shop, call):
        if call == at:
            shop.people.pop(f"s_{victim}", None)

    shop = Moving([person(n) for n in range(100)], change)
    fetched = read_subscribers(contacts_of(range(100)), shop, complete=True)
    assert {*ids(fetched)} >= {f"s_{n}" for n in range(100)} - {f"s_{victim}"}


@pytest.mark.parametrize("at", range(3, 14))
def test_no_one_is_lost_where_two_stretches_meet(at, monkeypatch):
    """A page that was read before the one behind it is read again when a subscriber was removed."""
    monkeypatch.setattr("toolkit.postscript.listing.WORKERS", 2)
    monkeypatch.setattr(
        "toolkit.postscript.listing.in_parallel", lambda act, items: [*map(act, [*items][::-1])][::-1]
    )
    shop = Moving(
        [person(n) for n in range(100)], lambda shop, call: call == at and shop.people.pop("s_0", None)
    )
    fetched = read_subscribers(contacts_of(range(100)), shop, complete=True)
    assert {*ids(fetched)} >= {f"s_{n}" for n in range(1, 100)}


def test_of_two_readings_the_later_state_stands():
    """Whoever was on two pages is held as updated last, else as read last."""
    later, other = person(2, updated_at="2026-03-01T00:00:00Z"), person(3, properties={"x": 1})
    rows = ListedRows(())
    for shown in ([person(1), later, person(3)], [other, person(2)]):
        rows.add([api.parse_subscriber(row) for row in shown])
    held = rows.table().set_index("subscriber_id")
    assert held["updated_at"].to_dict() == {row["id"]: row["updated_at"] for row in (person(1), later, other)}
    assert held["property_count"]["s_3"] == 1


class Repeating(Moving):
    """A shop that answers its last page beyond it too."""

    def show(self, number, rows, total):
        return rows if number <= total else [*self.people.values()][(total - 1) * 10 :], total


@pytest.mark.parametrize("kind", [Moving, Repeating])
@pytest.mark.parametrize("size", [1, 9, 10, 11, 15, 20, 21])
def test_a_list_of_any_length_is_read_whole(size, kind):
    """Of one page or two, full or not: everybody is there, in few calls."""
    shop = kind([person(n) for n in range(size)], lambda *_: None)
    fetched = read_subscribers(contacts_of([]), shop, complete=True)
    assert (fetched.cache.is_complete, len(fetched.subscribers)) == (True, size)


def test_a_list_without_a_number_of_pages_is_read_to_an_empty_page():
    """Forward to find its end, and then as any other."""
    shop = Faulty([person(n) for n in range(170)], "no total", 0, 0)
    assert len(read_subscribers(contacts_of([]), shop, complete=True).subscribers) == 170
    assert len(shop.asked) <= 2 * 17 + 8


class Undated(Moving):
    """A shop whose list does not say when a subscriber changed."""

    def show(self, number, rows, total):
        return [{name: value for name, value in row.items() if name != "updated_at"} for row in rows], total


def test_a_list_without_times_is_read():
    """Everybody is there, and the next reading has no moment to go on from."""
    shop = Undated([person(n) for n in range(30)], lambda *_: None)
    fetched = read_subscribers(contacts_of(range(30)), shop, complete=True)
    assert len(fetched.subscribers) == 30
    assert (fetched.method, fetched.cache.newest) == ("listing", "")


def test_traits_that_were_read_are_remembered(ledger):
    """The cache says which properties it has, after a list and after changes alike."""
    with Shop([person(n) for n in range(120)]) as shop:
        for method in ("listing", "changes", "changes"):
            fetched = read_and_save(contacts_of(range(120)), shop, ledger, trait_keys=["city"], complete=True)
            assert (fetched.method, [*fetched.cache.trait_keys]) == (method, ["city"])
            assert fetched.subscribers["properties"].notna().all()


class Ascending(Moving):
    """Answers the pages that are read at once from the first to the last; a removal comes in between."""

    def __init__(self, people, after):
        super().__init__(people, lambda shop, call: None)
        self._turn, self._after, self._served = threading.Condition(), after, 0

    def send(self, request, *, on_leaving=None):
        page = int(dict(request.query)["page"])
        is_listing = request.query[:1] == (("sort", "created_at__asc"),)
        if not is_listing or page == 10 or self._served == 9:
            return super().send(request)
        with self._turn:
            self._turn.wait_for(lambda: self._served == page - 1, timeout=20)
            answer = super().send(request)
            self._served = page
            if page == self._after:
                self.people.pop("s_0")
            self._turn.notify_all()
        return answer


@pytest.mark.parametrize("after", range(1, 10))
def test_the_order_of_the_answers_decides_nothing(after):
    """A removal between two pages that are answered the wrong way round hides no subscriber."""
    shop = Ascending([person(n) for n in range(100)], after)
    fetched = read_subscribers(contacts_of(range(100)), shop, complete=True)
    assert {*ids(fetched)} >= {f"s_{n}" for n in range(1, 100)}


class Faulty(Moving):
    """A shop whose list is wrong on some page, a number of times."""

    def __init__(self, people, kind, number, times):
        super().__init__(people, lambda shop, call: None)
        self.kind, self.number, self.times = kind, number, times

    def show(self, number, rows, total):
        if self.kind == "no total":
            return rows, None
        if self.kind in {"low", "high", "one"}:
            return rows, {"low": total - 1, "high": total + 2, "one": 1}[self.kind]
        if number != self.number or not self.times:
            return rows, total
        self.times -= 1
        other = [*self.people.values()][50:60]
        return {"empty": [], "short": rows[:4], "repeated": other, "changing": rows}[self.kind], (
            1 if self.kind == "changing" else total
        )


@pytest.mark.parametrize("size", [90, 95])
@pytest.mark.parametrize(
    ("kind", "number"),
    [(kind, n) for kind in ("empty", "short", "repeated", "changing") for n in (1, 2, 5, 9, 10)]
    + [(kind, 0) for kind in ("no total", "low", "high", "one")],
)
def test_a_page_that_is_wrong_once_loses_no_one(kind, number, size):
    """Empty, short, repeated, or with a wrong number of pages: it is noticed, and read again."""
    shop = Faulty([person(n) for n in range(size)], kind, number, 1)
    fetched = read_subscribers(contacts_of([]), shop, complete=True)
    assert fetched.cache.is_complete
    assert ids(fetched) == sorted(f"s_{n}" for n in range(size))
    assert len(shop.asked) <= 40
    again = read_subscribers(contacts_of([]), shop, cache=fetched.cache, dry_run=True)
    assert (again.method, ids(again)) == ("changes", ids(fetched))


@pytest.mark.parametrize("kind", ["empty", "short", "repeated"])
def test_a_list_with_a_page_that_stays_wrong_is_not_complete(kind):
    """Nothing is concluded from it: people are looked up, and who needs everybody gets an error."""
    shop = Faulty([person(n) for n in range(95)], kind, 3, 99)
    fetched = read_subscribers(contacts_of(range(1300)), shop)
    assert ids(fetched) == sorted(f"s_{n}" for n in range(95))
    assert not fetched.cache.is_complete
    assert any("looked up as well" in note for note in fetched.notes)
    with pytest.raises(ServerError, match="Nothing is concluded"):
        read_subscribers(contacts_of([1]), shop, complete=True)


def test_a_missing_page_of_a_gateway_is_not_the_end():
    """Only Postscript itself can say that there is no such page."""
    shop = Moving([person(n) for n in range(95)], lambda shop, call: None)
    send = shop.send

    def behind_a_gateway(request, **options):
        if dict(request.query)["page"] == "4":
            raise RejectedError("404", status_code=404)
        return send(request, **options)

    shop.send = behind_a_gateway
    with pytest.raises(RejectedError):
        read_subscribers(contacts_of([]), shop, complete=True)


def test_a_shop_that_ignores_the_order_is_read_once():
    """Where pages are not in the order that was asked for, what changed meanwhile is left to the next run."""
    people = [person(n, updated_at=f"2026-01-01T00:{n * 7 % 60:02}:00Z") for n in range(400)]
    shop = Moving(people, lambda shop, call: None)
    send = shop.send
    shop.send = lambda request, **options: send(
        api.Request(
            method="GET",
            path=request.path,
            query=tuple(
                (name, "created_at__asc" if name == "sort" else value) for name, value in request.query
            ),
        )
    )
    fetched = read_subscribers(contacts_of([]), shop, complete=True)
    assert len(fetched.subscribers) == 400
    assert len(shop.asked) <= 40 + 4


@pytest.mark.parametrize("at", [3, 5, 8, 12])
def test_who_signs_up_or_changes_meanwhile_is_seen(at):
    """The last query asks for what changed while the list was read."""

    def change(shop, call):
        if call == at:
            later = "2026-03-01T00:00:00Z"
            shop.people["s_new"] = person(200, id="s_new", created_at=later, updated_at=later)
            shop.people["s_3"] = {**shop.people["s_3"], "updated_at": later, "properties": {"x": 1}}

    shop = Moving([person(n) for n in range(100)], change)
    fetched = read_subscribers(contacts_of(range(100)), shop, complete=True)
    held = fetched.subscribers.set_index("subscriber_id")
    assert len(held) == 101
    assert held["property_count"]["s_3"] == 1


HUNDRED = SubscriberCache(
    subscribers=subscribers_table(api.parse_subscriber(person(n)) for n in range(100)),
    newest="2026-02-01T00:00:00+00:00",
    is_complete=True,
    page_size=10,
)


@pytest.mark.parametrize(
    ("fields", "asked", "can"),
    [
        ({}, {"complete": True}, True),
        ({"newest": ""}, {"complete": False}, False),
        ({"page_size": 0}, {"complete": False}, False),
        ({"page_size": 0, "is_complete": False}, {"complete": False}, True),
        ({"is_complete": False}, {"complete": True}, False),
        ({"is_dated": False}, {"complete": True}, False),
        ({"is_dated": False}, {"complete": True, "dry_run": True}, True),
        ({}, {"complete": True, "trait_keys": ["city"]}, False),
        ({"trait_keys": ("city",)}, {"complete": True, "trait_keys": ["city"]}, True),
    ],
)
def test_which_caches_can_be_renewed(fields, asked, can):
    """One that is dated, longer than a page, and has all the properties and people that are asked for."""
    assert replace(HUNDRED, **fields).can_be_renewed(**{"trait_keys": (), **asked}) is can


def test_what_is_looked_up_stands_over_what_was_listed_before():
    """A subscriber who changes between the two is held as looked up."""

    def change(shop, call):
        if call == 3:
            shop.people["s_7"]["properties"] = {"x": 1}

    shop = Moving([person(7, updated_at="2026-02-01T00:01:00Z")], change)
    fetched = read_subscribers(contacts_of([7], emails=True), shop, cache=HUNDRED)
    assert [*shop.asked[2]] == ["email__in", "sort", "page"]
    assert fetched.subscribers.set_index("subscriber_id")["property_count"]["s_7"] == 1


@pytest.mark.parametrize("body", [None, [], {}, {"subscriber": None}])
def test_an_answer_without_a_subscriber_takes_no_one_for_gone(body):
    """Who is there is unknown then."""
    shop = SimpleNamespace(send=lambda request: Answer(status_code=200, json=body))
    with pytest.raises(ServerError, match="holds no subscriber"):
        find_subscriber(shop, "s_1")


@pytest.mark.parametrize("at", range(1, 7))
def test_changes_that_go_on_while_they_are_read(at):
    """Someone who changes again moves to the end; no one else is lost, and the last state is seen."""
    changed = [person(n, updated_at=f"2026-02-01T00:{n:02}:00Z", properties={"x": 1}) for n in range(50)]

    def change(shop, call):
        if call == at:
            shop.people["s_0"] = {
                **shop.people["s_0"],
                "updated_at": "2026-02-02T00:00:00Z",
                "properties": {"x": 1, "y": 2},
            }

    shop = Moving([*changed, *(person(n) for n in range(50, 100))], change)
    fetched = read_subscribers(contacts_of(range(100)), shop, cache=HUNDRED)
    counts = fetched.subscribers.set_index("subscriber_id")["property_count"]
    assert counts.drop("s_0").tolist().count(1) == 49
    assert counts["s_0"] == 2


def test_a_subscriber_who_never_stops_changing_does_not_hold_the_reading_up():
    """The list of changes is read to its end, with the state at its last page, and no further."""

    def change(shop, call):
        shop.people["s_98"]["updated_at"] = f"2026-02-02T00:{call:02}:00Z"

    shop = Moving([person(n) for n in range(70, 100)], change)
    fetched = read_subscribers(contacts_of([]), shop, cache=replace(HUNDRED, newest=person(70)["updated_at"]))
    assert (fetched.method, len(shop.asked)) == ("changes", 5)
    held = fetched.subscribers.set_index("subscriber_id")["updated_at"]
    assert held["s_98"] == "2026-02-02T00:04:00Z"


def test_many_changes_of_one_moment_are_read_once():
    """An import stamps everybody alike: what is known is not read again because of it."""
    with Shop([person(n) for n in range(500)]) as shop:
        contacts = contacts_of(range(500))
        cache = read_subscribers(contacts, shop.client, complete=True).cache
        alike = "2026-05-01T00:00:00Z"
        shop.add(*(person(n, updated_at=alike) for n in range(500, 790)))
        shop.queries()
        fetched = read_subscribers(contacts, shop.client, cache=cache)
        assert len(fetched.subscribers) == 790
        # Seven pages, the last of them twice; how to ask, and two pages of some people.
        asked = Counter("updated_at__gte" in query for query in shop.queries())
        assert (asked[True], asked[False]) == (8, 1 + 2)


def test_changes_without_a_phone_do_not_show_how_to_ask():
    """Where no phone is among them a page of the list is read, and people are looked up many at once."""
    with Shop([person(n) for n in range(1000)]) as shop:
        cache = read_subscribers(contacts_of(range(40)), shop.client).cache
        shop.add(*({**newcomer(n), "phone_number": ""} for n in range(2000, 2020)))
        for row in filter(lambda row: row["phone_number"], shop.people.values()):
            row["updated_at"] = "2026-01-01T00:00:00Z"
        shop.queries()
        fetched = read_subscribers(contacts_of(range(60)), shop.client, cache=cache)
        assert fetched.method == "changes"
        assert {f"s_{n}" for n in range(60)} <= {*ids(fetched)}
        queries = shop.queries()
        listed = [query for query in queries if not shop.asked_for(query.items())]
        assert len(queries) < 20, "forty are looked up again and twenty are new: not one by one"
        assert [query["sort"] for query in listed if "updated_at__gte" not in query] == ["updated_at__desc"]


def test_who_was_asked_for_is_not_asked_for_again():
    """Of those who are not there and have a new email only that is asked for, unless it is their turn."""
    shop = Moving([person(n) for n in range(1000)], lambda *_: None, page_size=50)
    people = contacts_of(range(900, 1100))
    cache = read_subscribers(people, shop).cache
    people["email"] = people["email_clean"] = [f"new{n}@mail.test" for n in range(200)]
    asked, send = [], shop.send
    shop.send = lambda request: asked.extend(value for _, value in request.query) or send(request)
    assert read_subscribers(people, shop, cache=cache).method == "changes"
    assert {*asked} >= {*people["email"][100:]}
    assert 0 < len({*asked} & {*people["phone_e164"][100:].str[1:]}) < 60


def test_an_email_that_is_known_may_be_anothers_too():
    """Found by phone, one of two with the same email; who has only that email is asked for all the same."""
    both = [person(n, email="family@mail.test") for n in (1, 2)]
    with Shop([*both, *(person(n) for n in range(100, 400))]) as shop:
        first = read_subscribers(contacts_of([1]), shop.client)
        assert not first.cache.is_complete
        rows = [{"person": "user:wife", "phone": None, "email": "family@mail.test"}]
        wife = check_contacts(pd.DataFrame(rows).astype("str"))
        second = read_subscribers(wife, shop.client, cache=first.cache)
        assert {"s_1", "s_2"} <= {*ids(second)}


@pytest.mark.parametrize("is_there", [True, False], ids=["there", "deleted"])
def test_the_earlier_subscriber_of_a_person_whose_contact_moved_is_read(ledger, is_there):
    """The plan takes audiences away from them; who is looked up and found nowhere has not moved."""
    people = contacts_of(range(10))
    people.loc[3, ["phone", "phone_e164"]] = phone(500)
    reached = pd.DataFrame({"person": people["person"], "subscriber_id": [f"s_{n}" for n in range(10)]})
    with Shop([person(n) for n in range(600) if n != 5 and (n != 3 or is_there)]) as shop:
        assert {"s_3", "s_500"} & {*ids(read_and_save(people, shop, ledger))} == {"s_500"}
        cache = ledger.load_cache(SHOP)
        for scope, method in (("incremental", "changes"), ("full", "lookups")):
            shop.queries()
            again = read_subscribers(people, shop.client, cache=cache, scope=scope, reached=reached)
            assert again.method == method
            assert ("s_3" in ids(again)) is is_there
            assert [query for query in shop.queries() if not query] == [{}]


# --- how to ask -------------------------------------------------------------------------------------------


def probed(postscript, people):
    lookup = Lookup(postscript, [api.parse_subscriber(each) for each in people])
    lookup.probe()
    return lookup.encoding


@pytest.mark.parametrize(
    ("knobs", "found"),
    [
        ({}, QueryEncoding()),
        ({"phone_form": "plus_required"}, QueryEncoding(plus=True)),
        ({"in_encoding": "comma"}, QueryEncoding(style="comma")),
        ({"in_encoding": "comma", "phone_form": "plus_required"}, QueryEncoding(style="comma", plus=True)),
    ],
    ids=["repeated", "plus", "comma", "comma and plus"],
)
@pytest.mark.parametrize("known", [5, 1], ids=["five known", "one known"])
def test_the_way_to_ask_is_found_out(knobs, found, known):
    """People who are there are asked for in each way until they come back; one of them is enough."""
    people = [person(n) for n in range(5)]
    with HttpShop(people, **knobs) as shop:
        encoding = probed(shop.client, people[:known])
        assert encoding == found


@pytest.mark.parametrize("encoding", [QueryEncoding(plus=True), QueryEncoding(style="comma"), ONE_BY_ONE])
def test_a_way_to_ask_that_is_refused_is_not_taken(encoding):
    """A refusal finds no subscriber, so the next way is tried."""
    shop = RefusingWays(encoding)
    assert probed(shop, [person(n) for n in range(2)]) == encoding


class RefusingWays:
    """A shop that takes one way to ask and answers the others with 400."""

    def __init__(self, encoding):
        self.encoding, self.rows = encoding, [person(n) for n in range(2)]

    def send(self, request):
        digits = [phone(n).lstrip("+") for n in range(2)]
        some = digits[:1] if self.encoding.style == "single" else digits
        if request != api.find_by_contact(some, self.encoding):
            raise RejectedError("400", status_code=400)
        rows = self.rows[: len(some)]
        return Answer(status_code=200, json={"page_info": {"total_pages": 1}, "subscribers": rows})


@pytest.mark.parametrize("most", [10, 30, 60])
@pytest.mark.parametrize("kind", ["values", "last values", "rows"])
def test_a_query_that_is_answered_in_part_is_made_smaller(kind, most):
    """However a shop cuts its answers short, everybody who is there is found."""
    shop = Cutting([person(n) for n in range(1000)], kind, most)
    fetched = read_subscribers(contacts_of(range(0, 1000, 7), emails=most == 30), shop)
    assert fetched.method == "lookups"
    assert ids(fetched) == sorted(f"s_{n}" for n in range(0, 1000, 7))
    assert len(shop.asked) < 60


def test_a_query_for_emails_that_is_answered_in_part_is_noticed():
    """The emails of subscribers who are there go along with a query for emails, as their proof."""
    shop = Cutting([person(n) for n in range(1000)], "values", 30)
    sample = [api.parse_subscriber(person(n)) for n in range(900, 1000)]
    found = Lookup(shop, sample).find(contacts_of(range(45), emails=True))
    assert len({row.subscriber_id for row in found}) == 45


def test_one_who_has_left_meanwhile_makes_no_query_smaller():
    """A subscriber who is not there any more is no sign of an answer in part."""

    def change(shop, call):
        if call == 3:
            shop.people.pop("s_999")

    shop = Moving([person(n) for n in range(1000)], change, page_size=50)
    fetched = read_subscribers(contacts_of(range(100, 400)), shop)
    assert len(fetched.subscribers) == 300
    assert len(shop.asked) < 15


def test_a_probe_without_a_phone():
    """Without a phone to try with, the usual way is taken, or one by one where people are."""
    assert probed(None, []) == QueryEncoding()
    assert probed(None, [{"id": "s_1", "email": "cai@mail.test"}]) == ONE_BY_ONE


def test_a_shop_that_ignores_the_filter_is_left_alone():
    """Strangers in the answer stop everything before it is believed."""
    people = [person(n) for n in range(200)]
    with (
        HttpShop(people, in_encoding="ignored") as shop,
        pytest.raises(IgnoredFilterError, match="not asked for"),
    ):
        read_subscribers(contacts_of(range(10)), shop.client)


@pytest.mark.parametrize("most", [1, 7, 25, 50])
def test_a_query_that_is_too_long_is_halved(most):
    """Whatever number the shop takes at once, everybody is asked for, and the later queries fit."""
    with HttpShop([person(n) for n in range(300)], max_in=most) as shop:
        assert len(Lookup(shop.client).find(contacts_of(range(250)))) == 250
        refused = [e for e in shop.sandbox.journal if e["status"] == 400]
        assert len(refused) <= 8


@pytest.mark.parametrize("alone", [False, True])
def test_a_refusal_that_is_not_about_size_raises(alone):
    """A conflict does not go away by asking for fewer: it ends the reading at once."""
    shop = Refusing(409 if not alone else 400, then=409)
    with pytest.raises(RejectedError, match="409"):
        Lookup(shop).find(contacts_of(range(10)))
    assert shop.refusals <= (1 if not alone else 6)


@pytest.mark.parametrize("strangers", [1, 3])
def test_strangers_beside_those_who_were_asked_for_stop_everything(strangers):
    """A filter that is ignored may show some of the right people too."""
    rows = [person(n) for n in range(1, 2 + strangers)]
    answer = Answer(status_code=200, json={"page_info": {"total_pages": 1}, "subscribers": rows})
    shop = SimpleNamespace(calls={}, send=lambda request: answer)
    with pytest.raises(IgnoredFilterError):
        Lookup(shop).find(contacts_of([1]))


class Refusing:
    """A shop that refuses one value; *then* is its answer to the plainest query."""

    def __init__(self, status=400, then=400):
        self.status, self.then, self.refusals, self.taken = status, then, 0, 0

    def send(self, request, *, on_leaving=None):
        if any(value == phone(3)[1:] for _, value in request.query):
            self.refusals += 1
            status = self.then if "phone_number__eq" in dict(request.query) else self.status
            raise RejectedError(str(status), status_code=status)
        self.taken += 1
        values = [value for name, value in request.query if name.startswith("phone_number")]
        rows = [{"id": value, "phone_number": value} for value in values]
        return Answer(status_code=200, json={"page_info": {"total_pages": 1}, "subscribers": rows})


@pytest.mark.parametrize("status", [400, 413, 414, 422])
def test_one_refused_contact_spares_the_others(status):
    """The one that is refused alone is not known about, and is asked for again next time."""
    shops = [Refusing(status, then=status) for _ in range(2)]
    many, few = map(Lookup, shops)
    many.find(contacts_of(range(500)))
    found = few.find(contacts_of(range(10)))
    assert shops[0].taken <= 12, "the other four hundred are not asked for in fewer at once"
    assert few.refused == many.refused == {phone(3)[1:]}
    assert phone(3)[1:] not in few.asked
    assert {row.subscriber_id for row in found} == {phone(n)[1:] for n in range(10) if n != 3}


def test_a_refused_contact_that_only_shows_how_to_ask_is_not_counted():
    """It belongs to a subscriber who is there, and is asked for beside the people."""
    sample = [api.parse_subscriber({"id": "s", "phone_number": phone(n)}) for n in (1, 2, 3)]
    lookup = Lookup(shop := Refusing(), sample)
    lookup.find(contacts_of(range(20, 30)))
    assert shop.refusals
    assert not lookup.refused
