"""The local Postscript's list: filters, order, pages, and what it refuses."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from asking import ANA, API, BEN, CAI, ask, listed
from tables import every

from toolkit.sandbox import Knobs, Sandbox
from toolkit.sandbox.listing import parse_list_query
from toolkit.sandbox.people import generate_people
from toolkit.sandbox.shop import Shop
from toolkit.sandbox.wire import RefusedError

KNOBS = Knobs(page_size=1000)


@pytest.fixture
def sandbox():
    with Sandbox([ANA, BEN, CAI], rate=10_000, page_size=2, max_in=3) as running:
        yield running


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["s_cai", "s_ana"]),
        ("?page=2", ["s_ben"]),
        ("?page=3", []),
        ("?page=" + "9" * 300, []),
        ("?phone_number__eq=12025550143", ["s_ana"]),
        ("?phone_number__eq=%2B12025550143", ["s_ana"]),
        ("?phone_number__eq=%2B12025550144", ["s_ben"]),
        ("?phone_number__eq=2025550143", []),
        ("?phone_number__eq=", []),
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
    ],
)
def test_filters_sorting_and_pages(sandbox, query, ids):
    """Every operator, alone and together, on pages of two."""
    assert listed(sandbox, query) == ids


@pytest.mark.parametrize(
    ("query", "page_info"),
    [
        ("", {"page": 1, "total_pages": 2}),
        ("?page=7", {"page": 7, "total_pages": 2}),
        ("?phone_number__eq=1", {"page": 1, "total_pages": 1}),
    ],
)
def test_page_info_is_always_there(sandbox, query, page_info):
    """There is at least one page, and a page past the end is empty, not an error."""
    answer = ask(sandbox, "GET", f"{API}/subscribers{query}")
    assert (answer.status_code, answer.json()["page_info"]) == (200, page_info)


@pytest.mark.parametrize(
    "query",
    [
        "?limit=100",
        "?id__eq=s_ana",
        "?email=ana@mail.test",
        "?email__gt=a",
        "?ps_id__in=1",
        "?created_at__contains=2024",
        "?phone_number__in[]=1",
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
        "?ps_id__eq=x",
        "?created_at__gt=yesterday",
        "?created_at__gt=0001-01-01T00:00:00%2B23:00",
        "?created_at__gt=2025-01-01T00:00:00+00:00",
        "?phone_number__eq=1&phone_number__eq=2",
    ],
)
def test_what_the_list_does_not_know_is_400(sandbox, query):
    """Nothing is silently ignored, for an ignored filter would return every subscriber."""
    answer = ask(sandbox, "GET", f"{API}/subscribers{query}")
    assert (answer.status_code, answer.json()["error_code"]) == (400, 9400)


def test_in_takes_so_many_values_and_no_more(sandbox):
    """One value too many is 400 with a code of its own; other parameters do not count."""
    three = "&".join(f"phone_number__in={number}" for number in (1, 2, 12025550143))
    assert listed(sandbox, f"?{three}&email__in=ana@mail.test") == ["s_ana"]
    answer = ask(sandbox, "GET", f"{API}/subscribers?{three}&phone_number__in=4")
    assert (answer.status_code, answer.json()["error_code"]) == (400, 9414)


def test_an_unescaped_plus_is_a_space_and_is_not_repaired(sandbox):
    """``+`` in a query decodes as a space, so the phone begins with one and matches no subscriber."""
    assert listed(sandbox, "?phone_number__eq=+12025550143") == []
    assert listed(sandbox, "?phone_number__in=+12025550143") == []
    assert listed(sandbox, "?phone_number__eq=%2B12025550143") == ["s_ana"]
    assert sandbox.journal[0]["query"] == [["phone_number__eq", " 12025550143"]]


def test_pages_cover_every_subscriber_once():
    """Walking fifty at a time meets each subscriber exactly once, oldest sign-up first."""
    people = list(generate_people(230, seed=3))
    with Sandbox(people, rate=1000) as sandbox:
        pages = [listed(sandbox, f"?page={page}") for page in range(1, 7)]
    assert [len(page) for page in pages] == [50, 50, 50, 50, 30, 0]
    oldest_first = sorted(people, key=lambda person: (person["created_at"], person["id"]))
    assert [each for page in pages for each in page] == [person["id"] for person in oldest_first]


@every("seed", range(30))
def test_the_indexes_find_what_a_scan_finds(seed):
    """After any mix of changes, each query gives what its filters say of every subscriber one by one."""
    chance = random.Random(seed)
    shop = Shop(generate_people(60, seed=seed), clock=lambda: datetime(2026, 1, 2, tzinfo=UTC))
    for number in range(40):
        someone = chance.choice(list(shop))["id"]
        if chance.random() < 0.3:
            shop.redact(someone)
        elif chance.random() < 0.5:
            shop.patch(
                someone, {"email": f"new.{number % 5}@mail.test", "properties": {"custom 0": number}}, KNOBS
            )
        else:
            shop.add([{"id": f"late_{number}", "phone_number": f"+1202555{number:04d}"}])
    phones = [each["phone_number"] for each in shop if each["phone_number"]]
    parameters = chance.choice(
        [
            [("phone_number__in", phone) for phone in chance.sample(phones, 9)],
            [("email__in", f"NEW.{n}@mail.test") for n in range(4)],
            [("updated_at__gte", "2025-06-01"), ("sort", "updated_at__desc")],
            [("created_at__lt", "2025-06-01"), ("updated_at__gt", "2024-06-01")],
            [("email__eq", "new.1@mail.test"), ("updated_at__gt", "2024-06-01"), ("sort", "updated_at__asc")],
        ]
    )
    query = parse_list_query(parameters, KNOBS)
    expected = [each for each in shop if all(asked.matches(each) for asked in query.filters)]
    found, _ = shop.page(query, KNOBS)
    assert sorted(each["id"] for each in found) == sorted(each["id"] for each in expected)
    times = [(each[query.sort_field], each["id"]) for each in found]
    assert times == sorted(times, reverse=query.descending)


@pytest.mark.parametrize(
    "parameters",
    [[("sort", "created_at__asc"), ("sort", "created_at__asc")], [("page", "")], [("__eq", "1")]],
)
def test_odd_parameters_are_refused_without_a_server(parameters):
    """The query is read by a pure function that refuses what it does not know."""
    with pytest.raises(RefusedError) as refusal:
        parse_list_query(parameters, KNOBS)
    assert refusal.value.reply.status == 400
