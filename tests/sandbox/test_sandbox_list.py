"""The local Postscript's list: filters, order, pages, what it refuses, and the knobs of all that."""

from __future__ import annotations

import random
from datetime import timedelta

from asking import ANA, BEN, CAI, LocalShop
from tables import every

from toolkit.sandbox.people import generate_people
from toolkit.sandbox.routes import parse_list_query

ALL = ["s_cai", "s_ana", "s_ben"]
ANAS, BENS = "%2B12025550143", "%2B12025550144"
OPTED_OUT = {"promotional": {"can_send": False}, "transactional": {"can_send": True}}
LISTS = [
    ("", ["s_cai", "s_ana"]),
    ("?page=2", ["s_ben"]),
    ("?page=3", []),
    ("?page=" + "9" * 300, []),
    ("?phone_number__eq=12025550143", ["s_ana"]),
    ("?phone_number__eq=%2B12025550143", ["s_ana"]),
    ("?phone_number__eq=%2B12025550144", ["s_ben"]),
    ("?phone_number__eq=2025550143", []),
    ("?phone_number__eq=", []),
    # An unescaped plus decodes as a space, and is not repaired.
    ("?phone_number__eq=+12025550143", []),
    ("?phone_number__in=+12025550143", []),
    ("?phone_number__contains=555014", ["s_ana", "s_ben"]),
    ("?phone_number__contains=%2B1202", ["s_ana", "s_ben"]),
    ("?phone_number__contains=", []),
    ("?phone_number__in=12025550143&phone_number__in=%2B12025550144", ["s_ana", "s_ben"]),
    ("?phone_number__in=12025550143,12025550144", []),
    ("?email__eq=ANA@mail.TEST", ["s_ana"]),
    ("?email__in=ana@mail.test&email__in=CAI@mail.test", ["s_cai", "s_ana"]),
    ("?email__contains=MAIL", ["s_cai", "s_ana"]),
    ("?shopify_customer_id__eq=6110", ["s_ana"]),
    ("?shopify_customer_id__contains=9", ["s_cai"]),
    ("?shopify_customer_id__in=99&shopify_customer_id__in=6110", ["s_cai", "s_ana"]),
    ("?ps_id__eq=2", ["s_ben"]),
    ("?ps_id__eq=02", ["s_ben"]),
    ("?created_at__eq=2024-02-03T04:05:06Z", ["s_ana"]),
    ("?created_at__gt=2024-02-03T04:05:06Z", ["s_ben"]),
    ("?created_at__gte=2024-02-03T04:05:06Z", ["s_ana", "s_ben"]),
    ("?created_at__lt=2024-02-03T04:05:06Z", ["s_cai"]),
    ("?created_at__lte=2024-02-03T04:05:06Z", ["s_cai", "s_ana"]),
    ("?created_at__gt=2024-02-03T04:05:05.5Z&created_at__lt=2024-02-03T04:05:06.5Z", ["s_ana"]),
    ("?created_at__gt=2024-02-03T05:05:06%2B01:00", ["s_ben"]),
    ("?created_at__gt=2025-01-01&created_at__lt=2023-01-01", []),
    ("?updated_at__gte=2025-03-01T00:00:00Z&sort=updated_at__asc", ["s_cai", "s_ben"]),
    ("?updated_at__gte=2025-03-01T00:00:00Z", ["s_cai", "s_ben"]),
    ("?updated_at__eq=2025-03-01&sort=phone_number__asc", ["s_cai"]),
    ("?email__contains=mail&phone_number__eq=12025550143", ["s_ana"]),
    ("?email__eq=cai@mail.test&phone_number__eq=12025550143", []),
    ("?sort=created_at__asc", ["s_cai", "s_ana"]),
    ("?sort=created_at__desc", ["s_ben", "s_ana"]),
    ("?sort=updated_at__desc", ["s_ben", "s_cai"]),
    ("?sort=phone_number__desc", ["s_ben", "s_ana"]),
    ("?sort=shopify_customer_id__desc", ["s_ana", "s_cai"]),
    (
        "?phone_number__in=12025550143&phone_number__in=12025550144&sort=created_at__desc",
        ["s_ben", "s_ana"],
    ),
]


@every("query, ids", LISTS)
def test_filters_sorting_and_pages(query, ids):
    """Every operator, alone and together, on pages of two."""
    assert LocalShop(page_size=2).listed(query) == ids


KNOBS = [
    ({}, f"?phone_number__in={ANAS}&phone_number__in={BENS}", ["s_ana", "s_ben"]),
    ({}, f"?phone_number__in={ANAS},{BENS}", []),
    ({"in_encoding": "comma"}, f"?phone_number__in={ANAS},{BENS}", ["s_ana", "s_ben"]),
    ({"in_encoding": "comma"}, f"?phone_number__in={ANAS}%2C{BENS}", ["s_ana", "s_ben"]),
    ({"in_encoding": "comma"}, f"?phone_number__in={ANAS}&phone_number__in={BENS}", ["s_ben"]),
    ({"in_encoding": "ignored"}, f"?phone_number__in={ANAS}", ALL),
    ({"in_encoding": "ignored", "max_in": 1}, "?email__in=1&email__in=2", ALL),
    ({"in_encoding": "ignored"}, f"?email__in=x&phone_number__eq={ANAS}", ["s_ana"]),
    ({"phone_form": "plus_required"}, f"?phone_number__in={ANAS}", ["s_ana"]),
    ({"phone_form": "plus_required"}, "?phone_number__in=12025550143", []),
    ({"phone_form": "plus_required"}, "?phone_number__eq=12025550143", ["s_ana"]),
    ({"phone_form": "digits_required"}, "?phone_number__in=12025550143", ["s_ana"]),
    ({"phone_form": "digits_required"}, f"?phone_number__in={ANAS}", []),
    ({"ten_digit_phones": "assume_us"}, "?phone_number__eq=2025550143", ["s_ana"]),
    ({"ten_digit_phones": "assume_us"}, "?phone_number__eq=%2B2025550143", []),
    ({"email_case": "sensitive"}, "?email__eq=Ana@Mail.test", ["s_ana"]),
    ({"email_case": "sensitive"}, "?email__in=ana@mail.test", []),
    ({"email_case": "sensitive"}, "?email__contains=MAIL", []),
    ({"email_case": "sensitive"}, "?email__contains=Mail", ["s_ana"]),
]


@every("knobs, query, ids", KNOBS)
def test_a_filter_is_read_as_the_knobs_say(knobs, query, ids):
    """Every way to read a filter."""
    assert LocalShop(**knobs).listed(query) == ids


@every(
    "knobs, query, page_info",
    [
        ({}, "", {"page": 1, "total_pages": 2}),
        ({}, "?page=7", {"page": 7, "total_pages": 2}),
        ({}, "?phone_number__eq=1", {"page": 1, "total_pages": 1}),
        ({"empty_total_pages": 0}, "?phone_number__eq=1", {"page": 1, "total_pages": 0}),
        ({"empty_total_pages": 0}, "?email__eq=ana@mail.test", {"page": 1, "total_pages": 1}),
    ],
)
def test_page_info_is_always_there(knobs, query, page_info):
    """A page past the end is empty, not an error; an empty list has one page, or none."""
    reply = LocalShop(page_size=2, **knobs).ask("GET", f"/subscribers{query}")
    assert (reply.status, reply.content["page_info"]) == (200, page_info)


UNKNOWN = [
    "?limit=100",
    "?id__eq=s_ana",
    "?email=ana@mail.test",
    "?email__gt=a",
    "?ps_id__in=1",
    "?created_at__contains=2024",
    "?phone_number__in[]=1",
    "?__eq=1",
    "?page=0",
    "?page=-1",
    "?page=one",
    "?page=",
    "?page=1&page=2",
    "?page=" + "9" * 5000,
    "?page=%D9%A1",
    "?sort=email__asc",
    "?sort=created_at",
    "?sort=created_at__up",
    "?sort=created_at__asc&sort=created_at__asc",
    "?ps_id__eq=x",
    "?created_at__gt=yesterday",
    "?created_at__gt=0001-01-01T00:00:00%2B23:00",
    "?created_at__gt=2025-01-01T00:00:00+00:00",
    "?phone_number__eq=1&phone_number__eq=2",
]
THREE = "?phone_number__in=1&phone_number__in=2&phone_number__in=12025550143"
REFUSED = [
    *(({}, query, 400, 9400) for query in UNKNOWN),
    ({"max_in": 3}, f"{THREE}&email__in=ana@mail.test", 200, None),
    ({"max_in": 3}, f"{THREE}&phone_number__in=4", 400, 9414),
    ({"in_encoding": "comma", "max_in": 2}, "?email__in=1,2,3", 400, 9414),
    ({"in_encoding": "comma", "max_in": 3}, "?email__in=1,2,3", 200, None),
    ({"max_url_bytes": 64}, "?email__eq=" + "x" * 35, 414, 9415),
    ({"max_url_bytes": 64}, "?email__eq=" + "x" * 34, 200, None),
    ({"past_the_end": "404"}, "?page=2", 404, 9404),
    ({"past_the_end": "404"}, "?page=1", 200, None),
    ({"past_the_end": "404", "empty_total_pages": 0}, "?email__eq=x", 200, None),
]


@every("knobs, query, status, code", REFUSED)
def test_which_lists_are_refused(knobs, query, status, code):
    """Nothing is silently ignored, for an ignored filter would return everyone; limits hold at their edge."""
    reply = LocalShop(**knobs).ask("GET", f"/subscribers{query}")
    assert (reply.status, reply.content.get("error_code")) == (status, code)


def test_opted_out_people_can_be_hidden_from_lists():
    """They are on no page then, alone or filtered or of the past, and can still be read by id."""
    out = {"id": "s_out", "phone_number": "+12025550150", "subscriptions": OPTED_OUT}
    assert LocalShop(ANA, BEN, CAI, out).listed()[-1] == "s_out"
    hiding = LocalShop(ANA, BEN, CAI, out, opted_out="hidden", read_lag_ms=60_000)
    assert hiding.listed() == ALL
    assert hiding.listed("?phone_number__eq=12025550150") == []
    assert hiding.ask("GET", "/subscribers/s_out").status == 200
    hiding.patch({"tags": ["NEW"]}, "s_out")
    assert hiding.listed() == ALL


def test_pages_cover_every_subscriber_once():
    """Walking fifty at a time meets each subscriber exactly once, oldest sign-up first."""
    people = list(generate_people(230, seed=3))
    shop = LocalShop(*people)
    pages = [shop.listed(f"?page={page}") for page in range(1, 7)]
    assert [len(page) for page in pages] == [50, 50, 50, 50, 30, 0]
    oldest_first = sorted(people, key=lambda person: (person["created_at"], person["id"]))
    assert [each for page in pages for each in page] == [person["id"] for person in oldest_first]


def change(shop, chance, number):
    """Let someone leave, change or sign up."""
    someone = chance.choice(list(shop.shop))["id"]
    kind = chance.random()
    if kind < 0.3:
        shop.shop.redact(someone)
    elif kind < 0.65:
        shop.patch({"email": f"new.{number % 5}@mail.test", "properties": {"custom 0": number}}, someone)
    else:
        late = {"id": f"late_{number}", "phone_number": f"+1202555{number:04d}"}
        shop.shop.add([late | ({"created_at": "2025-01-01"} if kind < 0.8 else {})])


@every("seed", range(30))
def test_the_indexes_find_what_a_scan_finds(seed):
    """After any mix of changes, each query gives what its filters say of every subscriber one by one."""
    chance = random.Random(seed)
    shop = LocalShop(*generate_people(60, seed=seed), page_size=1000)
    for number in range(40):
        change(shop, chance, number)
        shop.listed("?updated_at__gte=2025-06-01")
    phones = [each["phone_number"] for each in shop.shop if each["phone_number"]]
    for parameters in (
        [],
        [("sort", "created_at__desc")],
        [("phone_number__in", phone) for phone in chance.sample(phones, 9)],
        [("email__in", f"NEW.{n}@mail.test") for n in range(4)],
        [("updated_at__gte", "2025-06-01"), ("sort", "updated_at__desc")],
        [("created_at__lt", "2025-06-01"), ("updated_at__gt", "2024-06-01")],
        [("email__eq", "new.1@mail.test"), ("updated_at__gt", "2024-06-01"), ("sort", "updated_at__asc")],
    ):
        query = parse_list_query(parameters, shop.knobs)
        everyone = shop.shop.subscribers.values()
        expected = [each for each in everyone if all(asked.matches(each) for asked in query.filters)]
        found, matches = shop.shop.page(query, shop.knobs)
        assert sorted(each["id"] for each in found) == sorted(each["id"] for each in expected)
        assert matches == len(expected)
        times = [(each[query.sort_field], each["id"]) for each in found]
        assert times == sorted(times, reverse=query.descending)


# Lagging reads


def test_reads_lag_and_writes_do_not():
    """Lists and reads by id show the past; the PATCH's own answer, and a later read, the present."""
    shop = LocalShop(read_lag_ms=60_000)
    assert shop.patch({"properties": {"points": 1}}).content["properties"]["points"] == 1
    shop.shop.add([{"id": "s_late", "phone_number": "+12025550150"}])
    assert shop.ask("GET", "/subscribers/s_ana").content["properties"]["points"] == 420
    assert shop.ask("GET", "/subscribers/s_late").status == 404
    assert shop.listed("?phone_number__contains=0150") == []
    assert shop.listed("?updated_at__lte=2025-01-01") == ["s_ana"]
    shop.time += timedelta(seconds=61)
    assert shop.ask("GET", "/subscribers/s_ana").content["properties"]["points"] == 1
    assert shop.listed("?phone_number__contains=0150") == ["s_late"]
    assert shop.listed("?updated_at__lte=2025-01-01") == []


@every("seed", range(20))
def test_a_lagging_list_is_the_list_of_then(seed):
    """After any mix of changes, every query gives what it gave before them."""
    chance = random.Random(seed)
    queries = [
        "",
        "?sort=updated_at__asc",
        "?sort=updated_at__desc",
        "?sort=phone_number__desc",
        "?sort=shopify_customer_id__asc&email__contains=shopper",
        "?created_at__gte=2025-01-01",
        "?page=2",
    ]
    shop = LocalShop(*generate_people(60, seed=seed), page_size=40)
    before = [shop.listed(query) for query in queries]
    shop.time += timedelta(seconds=100)
    for number in range(30):
        change(shop, chance, number)
    after = [shop.listed(query) for query in queries]
    shop.knobs = shop.knobs.changed({"read_lag_ms": 50_000})
    assert [shop.listed(query) for query in queries] == before != after
