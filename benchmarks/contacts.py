"""``python -m benchmarks.contacts``: distinct contacts judged by the column, beside the libraries row by row.

Both in one run, in seconds of this process, so that other work on the machine counts less. The row-by-row
side is measured on every n-th contact and scaled up; the verdicts on those contacts must be the same.
"""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import phonenumbers
import pyarrow as pa

from toolkit.contacts.bulk import check_contacts
from toolkit.contacts.checks import check_email, check_phone

SAMPLE, PIECE, TEXT = 20_000, 50_000, pa.large_string()
REGIONS = [
    *("US", "CA", "GB", "DE", "FR", "IT", "ES", "NL", "BE", "AT", "CH", "SE", "NO", "DK", "FI"),
    *("PL", "PT", "IE", "GR", "CZ", "AU", "NZ", "JP", "KR", "IN", "BR", "MX", "AR", "ZA", "IL"),
]
DOMAINS = ["mail.test", "gmail.com", "Forecast.com", "shop-one.example.org", "uni.ac.uk", "web.de"]

Maker = Callable[[int, random.Random], str]


def abroad(number: int, chance: random.Random) -> phonenumbers.PhoneNumber:
    """Return a mobile number of some country, as the data has them, with other last digits."""
    turn, place = divmod(number, len(REGIONS))
    example = phonenumbers.example_number_for_type(REGIONS[place], phonenumbers.PhoneNumberType.MOBILE)
    tail = (turn * 25 + chance.randrange(25)) % 10**6
    return phonenumbers.PhoneNumber(
        country_code=example.country_code,
        national_number=example.national_number // 10**6 * 10**6 + tail,
        italian_leading_zero=example.italian_leading_zero,
    )


def written(style: int) -> Maker:
    return lambda number, chance: phonenumbers.format_number(abroad(number, chance), style)


def american(style: str) -> Maker:
    def make(number: int, chance: random.Random) -> str:
        turn, place = divmod(number, 789 * 789)
        area, exchange = divmod(place, 789)
        return style.format(201 + area, 201 + exchange, turn * 100 + chance.randrange(100))

    return make


def email(style: str) -> Maker:
    return lambda number, chance: style.format(n=number, domain=chance.choice(DOMAINS))


PHONES: dict[str, tuple[int, Maker]] = {
    "+14155550100": (30, american("+1{}{}{:04}")),
    "(415) 555-0100": (25, american("({}) {}-{:04}")),
    "4155550100": (15, american("{}{}{:04}")),
    "30 countries, +…": (15, written(phonenumbers.PhoneNumberFormat.E164)),
    "30 countries, spaced": (10, written(phonenumbers.PhoneNumberFormat.INTERNATIONAL)),
    "4155550100.0": (3, american("{}{}{:04}.0")),
    "with extension": (1, american("({}) {}-{:04} ext. 5")),
    "garbage": (1, lambda number, _: f"n/a {number:x}"),
}
EMAILS: dict[str, tuple[int, Maker]] = {
    "shopper1@mail.test": (70, email("shopper{n}@{domain}")),
    "Ana.Lee+1@mail.test": (27, email("Ana.Lee-{n}+Sms@{domain}")),
    "no @": (1, email("shopper{n}.{domain}")),
    "no dot": (1, email("shopper{n}@gmailcom")),
    "other letters": (1, email("žofie{n}@{domain}")),
}
"""Shape → its share in a hundred, and how one is made."""


def column(shapes: dict[str, tuple[int, Maker]], count: int, chance: random.Random) -> pd.Series:
    """Return *count* contacts, no two alike, made in pieces so as to need no memory to speak of."""
    makers = [maker for share, maker in shapes.values() for _ in range(share)]
    pieces = [
        pa.array((chance.choice(makers)(n, chance) for n in range(start, min(start + PIECE, count))), TEXT)
        for start in range(0, count, PIECE)
    ]
    return pa.table({"raw": pa.chunked_array(pieces)}).to_pandas()["raw"]


def people(contact: str, raw: pd.Series) -> pd.DataFrame:
    """Return people who have only that contact."""
    blank = pd.Series(None, index=raw.index, dtype="str")
    return pd.DataFrame({"person": raw.index.astype("str"), "email": blank, "phone": blank, contact: raw})


def held() -> int:
    """Return the bytes of memory this process holds now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(contact: str, name: str, raw: pd.Series) -> float:
    """Judge a column both ways, print the seconds, fail if a verdict differs; return the MB it took."""
    table = people(contact, raw)
    before = held()
    started = time.process_time()
    found = check_contacts(table)
    bulk = time.process_time() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    sample = raw.iloc[:: max(1, len(raw) // SAMPLE)]
    one = check_email.__wrapped__ if contact == "email" else lambda text: check_phone.__wrapped__(text, "US")
    started = time.process_time()
    verdicts = [one(text) for text in sample]
    single = (time.process_time() - started) * len(raw) / len(sample)
    code, value = ("email_code", "email_clean") if contact == "email" else ("phone_code", "phone_e164")
    same = found.loc[sample.index, [code, value]].astype("object")
    assert same[code].tolist() == [verdict.code for verdict in verdicts]
    assert same[value].where(same[value].notna(), None).tolist() == [verdict.value for verdict in verdicts]
    print(f"{name:26}{raw.nunique():>11,}{bulk:9.2f} s{single:10.1f} s{single / bulk:8.0f} ×")
    return memory / 1e6


def main() -> None:
    """Print a table: distinct contacts, seconds by the column, seconds row by row, how many times faster."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    chance = random.Random(1)
    check_contacts(people("phone", pd.Series(["+14155550100"], dtype="str")))
    print(f"{'distinct':26}{'contacts':>11}{'columns':>11}{'row by row':>12}{'faster':>10}")
    for contact, shapes in (("phone", PHONES), ("email", EMAILS)):
        memory = measure(contact, f"{contact}s, mixed", column(shapes, count, chance))
        print(f"  in at most {memory:,.0f} MB, the result included")
        for name, (share, maker) in shapes.items():
            measure(contact, f"  {name}", column({name: (share, maker)}, count // 20, chance))


if __name__ == "__main__":
    main()
