"""What is odd about good contacts: shared by several people, or at a domain that looks mistyped."""

from __future__ import annotations

import pandas as pd
import pytest
from tables import every

from toolkit import check_contacts, domain_table, shared_table
from toolkit.contacts.suggestions import USUAL_DOMAINS


def judged(emails=(), phones=()):
    size = max(len(emails), len(phones))
    people = pd.DataFrame(
        {
            "person": [f"u{n}" for n in range(size)],
            "email": [*emails, *[None] * (size - len(emails))],
            "phone": [*phones, *[None] * (size - len(phones))],
        }
    )
    return check_contacts(people)


def test_contacts_of_several_people_are_told_masked():
    """The same number in three forms is one; bad contacts and those of one person are left out."""
    found = shared_table(
        judged(
            ["b@shop.test", "B@shop.test", "one@shop.test"],
            ["4155550100", "+1 415 555 0100", "(415) 555-0100", "n/a", "n/a", "4155550123"],
        )
    )
    assert found.to_numpy().tolist() == [["phone", "•••00", 3], ["email", "b•••@shop.test", 2]]


@pytest.mark.parametrize(
    ("domain", "suggestion"),
    [
        ("gmial.com", "gmail.com"),
        ("gmail.con", "gmail.com"),
        ("gmaill.com", "gmail.com"),
        ("gmal.com", "gmail.com"),
        ("hotmali.com", "hotmail.com"),
        ("yaho.com", "yahoo.com"),
        ("gmail.comm", "gmail.com"),
    ],
)
def test_one_slip_is_suspected(domain, suggestion):
    """A letter too many, too few, wrong, or two that changed places."""
    assert domain_table(judged([f"a@{domain}"])).to_numpy().tolist() == [[domain, suggestion, 1]]


@every("domain", [*sorted(USUAL_DOMAINS), "shop.test", "gmails.org", "g.com", "mail.example.com"])
def test_usual_and_other_domains_are_not(domain):
    """ymail.com is a letter from gmail.com, and a provider of its own; two slips are no slip."""
    assert domain_table(judged([f"a@{domain}"])).empty


def test_the_most_frequent_domain_comes_first():
    """Counted by people; the case of a domain does not matter."""
    found = domain_table(judged(["a@gnail.com", "a@gmial.com", "b@GMIAL.com"]))
    assert found["domain"].tolist() == ["gmial.com", "gnail.com"]
    assert found["people"].tolist() == [2, 1]


def test_nobody_has_no_oddities():
    """The same columns, and no rows."""
    assert [*shared_table(judged()).columns] == ["contact", "masked", "people"]
    assert [*domain_table(judged()).columns] == ["domain", "suggestion", "people"]
