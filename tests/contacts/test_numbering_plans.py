"""Countries and kinds of numbers by the column are those that libphonenumber tells one by one."""

from __future__ import annotations

import random

import pandas as pd
import phonenumbers
import pyarrow as pa
import pytest

from toolkit.contacts import numbering_plans
from toolkit.contacts.bulk import check_contacts
from toolkit.contacts.numbering_plans import KINDS, TEXTING, sort_numbers
from toolkit.contacts.tables import phone_type_table

TYPES = {
    phonenumbers.PhoneNumberType.FIXED_LINE: "fixed line",
    phonenumbers.PhoneNumberType.MOBILE: "mobile",
    phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE: "fixed line or mobile",
    phonenumbers.PhoneNumberType.TOLL_FREE: "toll free",
    phonenumbers.PhoneNumberType.PREMIUM_RATE: "premium rate",
    phonenumbers.PhoneNumberType.SHARED_COST: "shared cost",
    phonenumbers.PhoneNumberType.VOIP: "VoIP",
    phonenumbers.PhoneNumberType.PERSONAL_NUMBER: "personal number",
    phonenumbers.PhoneNumberType.PAGER: "pager",
    phonenumbers.PhoneNumberType.UAN: "company number",
    phonenumbers.PhoneNumberType.VOICEMAIL: "voicemail",
    phonenumbers.PhoneNumberType.UNKNOWN: "unknown",
}
E164 = phonenumbers.PhoneNumberFormat.E164


def examples():
    """Return an example of every type of every region and of every code that belongs to no country."""
    regions = [
        phonenumbers.example_number_for_type(region, number_type)
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        for number_type in TYPES
    ]
    codes = sorted(phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS)
    return [n for n in [*regions, *map(phonenumbers.example_number_for_non_geo_entity, codes)] if n]


def changed(chance, number):
    """Return a number like *number*, its last digits changed, at times one too many or few."""
    national = phonenumbers.national_significant_number(number)
    kept = chance.randrange(len(national) + 1)
    length = len(national) + chance.choice([0, 0, 0, 0, 1, -1])
    digits = national[:kept] + "".join(chance.choices("0123456789", k=max(length - kept, 2)))
    zeros = len(digits) - len(digits.lstrip("0"))
    return phonenumbers.PhoneNumber(
        country_code=number.country_code,
        national_number=int(digits),
        italian_leading_zero=zeros > 0 or None,
        number_of_leading_zeros=zeros if zeros > 1 else None,
    )


def assert_sorted(numbers):
    """Compare the column with libphonenumber, number by number."""
    texts = pa.array([phonenumbers.format_number(n, E164) for n in numbers], pa.large_string())
    found = sort_numbers(texts)
    alone = pd.DataFrame(
        {
            "code": [str(n.country_code) for n in numbers],
            "region": [phonenumbers.region_code_for_number(n) or "" for n in numbers],
            "kind": [TYPES[phonenumbers.number_type(n)] for n in numbers],
        },
        dtype="str",
    )
    differ = (found != alone).any(axis=1)
    assert pd.concat([found, alone], axis=1)[differ].to_numpy().tolist() == []
    return found


def test_every_type_of_every_region():
    """Each example of libphonenumber's data is sorted as libphonenumber sorts it, and all kinds occur."""
    found = assert_sorted(examples())
    assert {*found["kind"]} >= {*KINDS} - {"unknown"}
    assert "001" in {*found["region"]}


def test_random_numbers():
    """Numbers like the examples but for some digits, many of them no valid ones, of all countries."""
    chance = random.Random(1)
    found = assert_sorted([changed(chance, number) for number in examples() * 2])
    assert found["kind"].value_counts()["unknown"] > 250
    assert (found["region"] == "").sum() > 25


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_very_many_random_numbers(seed):
    """The same, some 25,000 at a time."""
    chance = random.Random(seed + 2)
    assert_sorted([changed(chance, number) for number in examples() * 20])


def test_a_pattern_that_arrow_cannot_read(monkeypatch):
    """Then it is searched for by Python, with the same result."""
    monkeypatch.setattr(numbering_plans, "is_shared", lambda pattern: False)
    chance = random.Random(3)
    assert_sorted([changed(chance, number) for number in examples()[::7]])


def judged(*phones):
    return check_contacts(
        pd.DataFrame({"person": [f"u:{n}" for n in range(len(phones))], "email": None, "phone": [*phones]})
    )


def test_the_table_counts_people():
    """By country and kind, the most frequent first; people count, and only usable phones."""
    found = phone_type_table(
        judged("415-555-0100", "4155550100", "+447400123456", "8005550100", "n/a", None, "+12225550100")
    )
    assert found[["country", "kind", "people", "share"]].to_numpy().tolist() == [
        ["US", "fixed line or mobile", 2, 0.4],
        ["+1", "unknown", 1, 0.2],
        ["GB", "mobile", 1, 0.2],
        ["US", "toll free", 1, 0.2],
    ]
    assert found["texting"].tolist() == [TEXTING[kind] for kind in found["kind"]]


def test_no_people_have_no_number():
    """The same columns and no rows, be there no people or none with a phone."""
    for empty in (judged(), judged(None)):
        assert [*phone_type_table(empty).columns] == ["country", "kind", "people", "share", "texting"]
        assert phone_type_table(empty).empty
