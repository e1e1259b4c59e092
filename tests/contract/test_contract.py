"""What a shop does where Postscript's pages do not say: asked of each sandbox, or of the real shop.

By default every sandbox is asked and held to its own knobs. The real shop is asked read-only with
``pytest tests/contract -m live``, the key in POSTSCRIPT_SECRET_KEY; a table at the end says what was
found. With ``--contract-person ID`` that one subscriber is also written to: a property of our own is
added, emptied and, where that can be, removed. Custom events are never posted: they may send texts.
"""

from __future__ import annotations

from itertools import product

import pytest

from contract.shops import digits, hold

MARK = "toolkit contract"
UNKNOWN_PHONE = "12025550199"
UNKNOWN_EMAIL = "no.such.person@mail.test"
IN_SIZES = (25, 50, 100, 200)


# Reading


def test_me_names_the_shop(shop, settle):
    """The connection test answers 200 and names the kind of thing the key belongs to."""
    answer = shop.ask("/me")
    hold(answer.status == 200, f"/me answers {answer.status}")
    hold(bool(answer.content["resource_id"]), "/me names no resource")
    settle("the key belongs to a", answer.content["resource_type"], lambda _: "shop")


def test_a_wrong_key_is_refused(shop, settle):
    """A key that was never made opens nothing."""
    status = shop.ask("/me", key="sk_no_such_key").status
    hold(status in {401, 403}, f"a wrong key answers {status}")
    settle("a wrong key answers", status, lambda knobs: knobs.wrong_key)


def test_page_one(shop, settle):
    """The first page shows the page size, and has the oldest sign-ups in order."""
    times = [row["created_at"] for row in shop.rows]
    hold(bool(times), "the shop has no subscribers, so nothing can be learnt from it")
    hold(times == sorted(times), "the list is not in the order that was asked for")
    hold(len({row["id"] for row in shop.rows}) == len(shop.rows), "a subscriber is on the page twice")
    size = len(shop.rows) if shop.pages > 1 else f"at least {len(shop.rows)}"
    settle("page size", size, lambda knobs: knobs.page_size)
    kinds = {type(row["id"]).__name__ for row in shop.rows}
    settle("ids are", "numeric" if kinds == {"int"} else "text", lambda knobs: knobs.ids)


def test_the_page_past_the_end(shop, settle):
    """It is empty or refused, and lists no subscriber."""
    answer = shop.ask("/subscribers", [("page", str(shop.pages + 1))])
    rows = answer.content["subscribers"] if answer.status == 200 else []
    hold(rows == [], "people are listed past the last page")
    found = "empty" if answer.status == 200 else str(answer.status)
    settle("the page past the end is", found, lambda knobs: knobs.past_the_end)


@pytest.mark.parametrize("query", [("phone_number__eq", UNKNOWN_PHONE), ("email__eq", UNKNOWN_EMAIL)])
def test_an_unknown_contact_finds_no_subscriber(shop, settle, query):
    """An empty list and 200; how many pages that is, is open."""
    answer = shop.ask("/subscribers", [query])
    hold(answer.status == 200, f"a lookup without a match answers {answer.status}")
    hold(answer.content["subscribers"] == [], "a subscriber is found who is not in the query")
    pages = answer.content["page_info"]["total_pages"]
    settle("pages of an empty list", pages, lambda knobs: knobs.empty_total_pages)


@pytest.mark.parametrize("form", ["", "+"], ids=["digits", "plus"])
def test_a_phone_finds_its_subscriber(shop, settle, form):
    """One phone finds its person and no other; digits are what the official integration sends."""
    row = with_phone(shop)[0]
    asked = form + digits(row["phone_number"])
    found = [each["id"] for each in shop.find(("phone_number__eq", asked))]
    hold(found in ([row["id"]], []), "a phone finds another person")
    hold(bool(found) or form == "+", "a phone in digits does not find its person")
    settle(f"phone_number__eq, {'with a plus' if form else 'digits'}", len(found), lambda _: 1)


def test_ten_digits(shop, settle):
    """A phone without its country code finds its person, or none."""
    local = [row for row in with_phone(shop) if len(digits(row["phone_number"])) == 11]
    row = next((each for each in local if digits(each["phone_number"])[0] == "1"), None)
    if row is None:
        pytest.skip("no phone from the United States or Canada on page 1")
    found = [each["id"] for each in shop.find(("phone_number__eq", digits(row["phone_number"])[1:]))]
    hold(found in ([row["id"]], []), "ten digits find another person")
    settle("ten digits", "assume_us" if found else "no_match", lambda knobs: knobs.ten_digit_phones)


def test_the_case_of_an_email(shop, settle):
    """An email as it is stored finds its person; in the other case, perhaps."""
    row = next(each for each in shop.rows if each.get("email"))
    hold(row["id"] in ids(shop.find(("email__eq", row["email"]))), "an email does not find its person")
    found = row["id"] in ids(shop.find(("email__eq", row["email"].swapcase())))
    settle("email case", "insensitive" if found else "sensitive", lambda knobs: knobs.email_case)


def test_how_several_are_asked_for_at_once(shop, settle):
    """Two people of page 1 come back for one way at least to write ``__in``, unless it is ignored."""
    works = in_ways(shop)
    if works is None:
        encoding, form = "ignored", "not known"
    else:
        encodings = {encoding for encoding, _ in works}
        forms = {form for _, form in works}
        encoding = "/".join(sorted(encodings)) or "none"
        form = {frozenset({"", "+"}): "any", frozenset({"+"}): "plus_required"}.get(
            frozenset(forms), "digits_required"
        )
    settle("__in is written", encoding, lambda knobs: knobs.in_encoding)
    settle(
        "phones in __in",
        form,
        lambda knobs: "not known" if knobs.in_encoding == "ignored" else knobs.phone_form,
    )


def test_how_many_are_asked_for_at_once(shop, settle):
    """The largest list of phones that is not refused, of four sizes."""
    works = in_ways(shop) or [("repeated", "")]
    largest = 0
    for size in IN_SIZES:
        # From ranges set aside for fiction.
        phones = [f"{works[0][1]}1{202 + n // 100}55501{n % 100:02d}" for n in range(size)]
        answer = shop.ask("/subscribers", in_query(works[0][0], phones))
        if answer.status != 200:
            hold(answer.status in {400, 413, 414}, f"too long a list answers {answer.status}")
            break
        largest = size
    settle(
        "most values in __in (of those tried)",
        largest,
        lambda knobs: max(
            size for size in IN_SIZES if size <= knobs.max_in or knobs.in_encoding == "ignored"
        ),
    )


def test_an_unknown_parameter(shop, settle):
    """It is refused, or ignored and every subscriber is listed: the reason to check every row."""
    status = shop.ask("/subscribers", [("no_such_field__eq", "1")]).status
    hold(status in {200, 400, 422}, f"an unknown parameter answers {status}")
    settle("an unknown parameter answers", status, lambda _: 400)


def test_changes_since(shop, settle):
    """The filter on ``updated_at`` lists everyone who changed since, and no other."""
    middle = sorted(row["updated_at"] for row in shop.rows)[len(shop.rows) // 2]
    rows = shop.find(("updated_at__gte", middle), ("sort", "updated_at__asc"))
    times = [row["updated_at"] for row in rows]
    hold(all(time >= middle for time in times), "a subscriber is listed who did not change since")
    hold(times == sorted(times), "the list is not in the order that was asked for")
    hold(bool(times) and times[0] == middle, "the one who changed at that very moment is missing")
    settle("updated_at__gte includes its moment", True, lambda _: True)


def test_opted_out_people(shop, settle):
    """Whether a subscriber on the first pages has taken back consent."""
    pages = range(1, min(shop.pages, 5) + 1)
    rows = [row for page in pages for row in shop.find(("page", str(page)), ("sort", "created_at__asc"))]
    out = [row for row in rows if row["subscriptions"]["promotional"]["can_send"] is False]
    settle("opted-out people are", "listed" if out else "hidden", lambda knobs: knobs.opted_out)


def test_an_unknown_person(shop, settle):
    """Reading an id that no subscriber has is 404, or 400."""
    status = shop.ask("/subscribers/s_no_such_id").status
    hold(status in {400, 404}, f"an unknown id answers {status}")
    settle("an unknown id answers", status, lambda knobs: knobs.unknown_person)


# Writing, to the one person who may be written to


def test_what_a_write_does(shop, person, settle):
    """Other properties survive a PATCH or do not; nulls and empty lists are kept or not."""
    before = shop.read(person)
    kept = {name: value for name, value in (before.get("properties") or {}).items() if name != MARK}
    try:
        answer = shop.write(person, {MARK: ["a", "b"]})
        hold(answer.status == 200, f"a PATCH answers {answer.status}")
        written = shop.read(person)
        # Where reads lag, only the answer itself can tell; where it is empty too, nothing can.
        lags = (written.get("properties") or {}).get(MARK) != ["a", "b"]
        after = answer.content if lags else written
        survived = all((after["properties"]).get(name) == value for name, value in kept.items())
        settle("a read right after a write is", "old" if lags else "new", is_lagging)
        settle("the answer to a PATCH is", "full" if answer.content else "empty", lambda k: k.patch_bodies)
        settle("writes", "merge" if survived else "replace", lambda knobs: knobs.writes)
        dated = after["updated_at"] != before["updated_at"]
        settle("a write is dated", dated, lambda knobs: knobs.bumps_updated_at)
        settle("null", null_value(stored(shop, person, None)), lambda knobs: knobs.null_value)
        empty = stored(shop, person, [])
        settle("an empty list", "store" if empty == [] else "drop", lambda knobs: knobs.empty_list)
    finally:
        shop.write(person, {**kept, MARK: []})  # under "replace", all the others are brought back


def test_an_unknown_field_of_a_patch(shop, person, settle):
    """It is ignored, or refused."""
    answer = shop.ask(f"/subscribers/{person}", method="PATCH", body={"toolkit_contract": 1})
    hold(answer.status in {200, 400, 422}, f"an unknown field answers {answer.status}")
    found = "ignored" if answer.status == 200 else "refused"
    settle("an unknown field of a PATCH is", found, lambda knobs: knobs.unknown_patch_fields)


# How to ask


def with_phone(shop):
    return [row for row in shop.rows if row.get("phone_number")]


def ids(rows):
    return {row["id"] for row in rows}


def in_query(encoding, values):
    if encoding == "comma":
        return [("phone_number__in", ",".join(values))]
    return [("phone_number__in", value) for value in values]


def in_ways(shop):
    """Return the ways to write ``__in`` by which two people come back; None when it is ignored."""
    two = with_phone(shop)[:2]
    works = []
    for encoding, form in product(("repeated", "comma"), ("", "+")):
        rows = shop.find(*in_query(encoding, [form + digits(row["phone_number"]) for row in two]))
        if ids(rows) - ids(two):
            return None
        if ids(rows) == ids(two):
            works.append((encoding, form))
    return works


def stored(shop, person, value):
    """Write the mark and return what is there then; "absent" when it is not there."""
    answer = shop.write(person, {MARK: value})
    hold(answer.status == 200, f"a PATCH answers {answer.status}")
    after = answer.content or shop.read(person)
    return (after.get("properties") or {}).get(MARK, "absent")


def null_value(found):
    return {None: "store", "absent": "delete"}.get(found if not isinstance(found, list) else "", "ignored")


def is_lagging(knobs):
    return "old" if knobs.read_lag_ms else "new"
