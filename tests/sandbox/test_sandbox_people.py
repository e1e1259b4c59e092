"""Subscribers invented by seed or read from a file."""

from __future__ import annotations

import phonenumbers
import pytest
from asking import OLD

from toolkit.errors import FileFormatError
from toolkit.sandbox.people import AUDIENCE_PROPERTY, QUIRKS, generate_people
from toolkit.sandbox.records import load_subscribers

# People


def test_people_are_the_same_for_the_same_seed():
    """The seed decides everything, and fewer people are the beginning of more."""
    people = list(generate_people(300, seed=7))
    assert people == list(generate_people(300, seed=7))
    assert people[:120] == list(generate_people(120, seed=7))
    assert people != list(generate_people(300, seed=8))


def test_people_have_the_oddities_of_a_real_list():
    """Every oddity is there in its share, in any hundred."""
    people = list(generate_people(100, seed=1))
    emails = [person["email"] for person in people if person["email"]]
    audiences = [person["properties"].get(AUDIENCE_PROPERTY, []) for person in people]
    lists = [each for each in audiences if isinstance(each, list)]
    counts = {
        "no_email": 100 - len(emails),
        "no_phone": sum(person["phone_number"] is None for person in people),
        "shared_email": sum(emails.count(email) > 1 for email in emails),
        "opted_out": sum(not person["subscriptions"]["promotional"]["can_send"] for person in people),
        "mixed_case_email": sum(email != email.lower() for email in emails),
        "non_us_phone": sum(not (person["phone_number"] or "+1").startswith("+1") for person in people),
        "49_properties": sum(len(person["properties"]) == 49 for person in people),
        "50_properties": sum(len(person["properties"]) == 50 for person in people),
        "wrong_typed_audiences": 100 - len(lists),
        "repeated_audience": sum(len(set(each)) < len(each) for each in lists),
        "audiences": sum(bool(each) and len(set(each)) == len(each) for each in lists),
    }
    assert counts == QUIRKS


def test_people_have_reserved_contacts_only():
    """Phones are unique, from ranges set aside for fiction, and valid as numbers; emails end in .test."""
    people = list(generate_people(5000, seed=2))
    phones = [person["phone_number"] for person in people if person["phone_number"]]
    assert len(set(phones)) == len(phones)
    for phone in phones:
        assert phonenumbers.is_valid_number(phonenumbers.parse(phone)), phone
        assert not phone.startswith("+1") or phone[5:10] == "55501"
    assert all((person["email"] or ".test").lower().endswith(".test") for person in people)


def test_when_the_reserved_numbers_run_out_phones_are_unassigned():
    """Beyond the reserved supply, numbers get a country code that is not assigned, and stay unique."""
    phones = [person["phone_number"] for person in generate_people(12_000, seed=2) if person["phone_number"]]
    assert len(set(phones)) == len(phones)
    assert phones[-1].startswith("+999")


# Reading what comes from outside


BAD_FILES = {
    "not NDJSON": ('{"id": "a"}\nphone,email\n', 2, "JSON"),
    "no id": ('{"id": "a"}\n\n{"email": "a@mail.test"}\n', 3, "id: Field required"),
    "an id that is a number": ('{"id": 5}\n', 1, "id: Input should be a valid string"),
    "an id twice": ('{"id": "a"}\n{"id": "a"}\n', 2, "same id"),
    "a list": ("[]\n", 1, "object"),
    "a phone that is a number": ('{"id": "a", "phone_number": 12025550143}\n', 1, "phone_number"),
    "a time that is none": ('{"id": "a", "created_at": "noon"}\n', 1, "created_at"),
    "a flag for a number": ('{"id": "a", "ps_id": true}\n', 1, "ps_id"),
}


@pytest.mark.parametrize(("text", "line", "word"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_subscribers_file_is_refused_by_name_and_line(tmp_path, text, line, word):
    """The sentence names the file, the line and the problem."""
    path = tmp_path / "people.ndjson"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileFormatError, match=word) as problem:
        load_subscribers(path, OLD)
    assert f"{path}, line {line}" in str(problem.value)
