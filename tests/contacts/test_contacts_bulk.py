"""Contacts judged by the column get the verdicts that each gets alone."""

import random
import string
from types import SimpleNamespace

import email_validator
import numpy as np
import pandas as pd
import phonenumbers
import pyarrow as pa
import pytest
from tables import every

from toolkit.contacts.bulk import check_contacts, judge_emails, judge_phones
from toolkit.contacts.checks import CODES, NUMBER, Verdict, check_email, check_phone
from toolkit.contacts.numbering_plans import codes_by_start, plan_of_code, plan_of_region, read_plan


def each(text):
    return text.split("|")


ORIGINS = each(
    "US|CA|GB|DE|FR|IT|ES|NL|BE|AT|CH|SE|NO|DK|FI|PL|PT|IE|GR|CZ|HU|RU|KZ|AU|NZ|JP|KR|IN|BR|MX|AR|ZA|IL|SM|JM|CI"
)
HOMES = each("US|GB|DE|IT|FR|BR|AR|JP|RU|CA|AU|JM")
TYPES = sorted({*phonenumbers.PhoneNumberType.values()} - {phonenumbers.PhoneNumberType.UNKNOWN})
NOTHING = each(
    "| |\u00a0|n/a|null|nan|-|+|0|00|911|12|1-2|+1|+999|{{phone}}|4.15E+09|1.55512E+10|4,1e9|lee|Ana Lee"
)
HEADS = each("tel:|'|Mobile: |\t|\u00a0|\x1c|\u200e|;|a;b |x |(|/")
TAILS = each(".0|.00|.0 |.0\u00a0|.5|.|-|\n|\u00a0|/|+| x|x| ext. | extension |Ext:|/x| #|;ext=|,|.0 x|~| / ")
ODD_LETTERS = "+-() ./x\u00a0\u2013\u200e\u200b\u3000#,;~*[]a٤４＋\n\t'\x1c\x0b\x00\uffff😀é"

LOCALS = each(
    '{0}|{0}.lee|{0}+tag|o\'{0}|Info|postmaster|{0}-{0}|{0}..x|.{0}|{0}.|"{0} b"|"{0}"|ž{0}|用户{0}|{0} x||'
    "a@{0}|<{0}|{0}\\|{0}\x00|e\u0301{0}|\u0301{0}"
)
DOMAINS = each(
    "mail.test|Gmail.com|shop-one.Example.org|uni.ac.uk|a.b.c.d.io|{0}.de|test|gmail|x.local|LOCALHOST|"
    "mail.invalid|a.arpa|b.onion|bücher.example|xn--bcher-kva.example|XN--BCHER-KVA.de|xn--zzzz.com|ab--cd.com|"
    "a--b.com|中国.cn|mail.test.|mail..test|-a.com|a-.com|a.c0m|a.123|1.com|a_b.com|mail,test|[127.0.0.1]|"
    "[IPv6:::1]|127.0.0.1|mail.test>|mail\u3002test|a.com\u00a0|\u00ada.com|ﬁ.com|a.com\x00|mail.test\uffff|"
    "{0}{0}.{0}.com"
)
COATS = each("  {0} |{0}\n|\u00a0{0}|mailto:{0}|Ana <{0}>|{0},{0}|\x1c{0}|{0}😀|{0}.|{0}\u3000")


def examples(region):
    """Return the national numbers that the data shows for a region, one for each type it has."""
    found = (phonenumbers.example_number_for_type(region, number_type) for number_type in TYPES)
    return [phonenumbers.national_significant_number(number) for number in found if number]


def some_digits(chance, national):
    """Return a national number, or one gone wrong: other digits, one lost, too many."""
    kept = chance.choice([len(national), len(national) // 2, 3, 0])
    digits = national[:kept] + "".join(chance.choices(string.digits, k=len(national) - kept))
    return chance.choice([digits, digits, digits, digits[:-1], digits + "0", digits[:7], digits * 2])


def written(chance, region, home, national):
    """Return a number of *region* as a person in *home* might have written it."""
    code, trunk = phonenumbers.country_code_for_region(region), chance.choice(["", "", "0", "1", "8", "06"])
    digits = some_digits(chance, national)
    number = phonenumbers.PhoneNumber(
        country_code=code, national_number=int(digits), italian_leading_zero=digits.startswith("0")
    )
    abroad = chance.choice(["00", "011", "0011", "810", "+00", "+011", "8~10"])
    formats = phonenumbers.PhoneNumberFormat
    return chance.choice(
        [
            f"+{code}{digits}",
            f"+{code}{trunk}{digits}",
            f"+ {code} (0) {digits}",
            f"{trunk}{digits}",
            f"{code}{digits}",
            f"{abroad}{code}{trunk}{digits}",
            f"+{digits}",
            f"({digits[:3]}) {digits[3:6]}-{digits[6:]}",
            f"{trunk}{digits[:2]} {digits[2:5]}.{digits[5:]}",
            phonenumbers.format_number(number, formats.INTERNATIONAL),
            phonenumbers.format_number(number, formats.NATIONAL),
            phonenumbers.format_number(number, formats.RFC3966),
            phonenumbers.format_out_of_country_calling_number(number, home),
        ]
    )


def some_phone(chance, home, national):
    """Return a phone as it comes: as written, in a coat of other letters, or no phone at all."""
    region = home if home in national and chance.random() < 0.4 else chance.choice([*national])
    raw = written(chance, region, home, chance.choice(national[region]))
    place = chance.randrange(len(raw) + 1)
    zero = chance.choice([0x660, 0xFF10])
    coats = {
        0: chance.choice(NOTHING),
        1: chance.choice(HEADS) + raw,
        2: raw + chance.choice(TAILS),
        3: raw + chance.choice(TAILS) + str(chance.randrange(10 ** chance.randrange(1, 12))),
        4: raw[:place] + chance.choice(ODD_LETTERS) * chance.choice([1, 1, 2, 90]) + raw[place:],
        5: raw.translate({48 + digit: zero + digit for digit in range(10)}),
        6: raw.translate({ord(digit): letter for digit, letter in zip("34567", "DGJMP", strict=True)}),
    }
    return coats.get(chance.randrange(20), raw)


def some_email(chance):
    """Return an email as it comes: most of them good, the rest wrong in one way or other."""
    name = "".join(
        chance.choices(string.ascii_letters + string.digits, k=chance.choice([1, 5, 9, 9, 40, 70]))
    )
    local, domain = chance.choice([*LOCALS[:7] * 5, *LOCALS]), chance.choice([*DOMAINS[:6] * 15, *DOMAINS])
    raw = chance.choice([*["{0}"] * 50, *COATS]).format(f"{local}@{domain}".format(name))
    others = [chance.choice(NOTHING), raw.replace("@", "＠"), raw.replace("@", ""), raw + "x" * 200]
    return dict(enumerate(others)).get(chance.randrange(60), raw)


def some_people(seed, home, count):
    """Return *count* people with a phone and an email each, some of them twice, some without."""
    chance = random.Random(f"{seed} {home}")
    national = {region: examples(region) for region in ORIGINS}
    phones = [some_phone(chance, home, national) for _ in range(count)]
    emails = [some_email(chance) for _ in range(count)]
    for blank in range(0, count, 50):
        phones[blank] = emails[count - 1 - blank] = None
        phones[count - 1 - blank] = phones[blank // 2]
    return some_frame(email=emails, phone=phones)


def some_frame(**contacts):
    """Return people with those contacts; None where one is missing."""
    count = len(next(iter(contacts.values())))
    columns = {"person": [f"user:{n}" for n in range(count)], "email": None, "phone": None}
    return pd.DataFrame(columns | contacts, dtype="object")


def judged_singly(people, region):
    """Return the four verdict columns as lists, each contact judged alone."""
    absent = Verdict("absent")
    emails = [check_email.__wrapped__(raw) if raw is not None else absent for raw in people["email"]]
    phones = [check_phone.__wrapped__(raw, region) if raw is not None else absent for raw in people["phone"]]
    codes = [[verdict.code for verdict in verdicts] for verdicts in (emails, phones)]
    return codes + [[verdict.value for verdict in verdicts] for verdicts in (emails, phones)]


def judged_together(people, region):
    """Return the four verdict columns as lists, from the table."""
    found = check_contacts(people, default_region=region).astype("object")
    found = found.where(found.notna(), None)
    return [found[name].tolist() for name in ("email_code", "phone_code", "email_clean", "phone_e164")]


def assert_same(people, region):
    alone, together = judged_singly(people, region), judged_together(people, region)
    given = [people["email"], people["phone"], people["email"], people["phone"]]
    differ = [
        (raw, one, other)
        for column, ones, others in zip(given, alone, together, strict=True)
        for raw, one, other in zip(column, ones, others, strict=True)
        if one != other
    ]
    assert differ == []


def share(parts, raw):
    """Return how much of *raw* was judged by the column; no row twice."""
    rows = np.concatenate([rows for rows, _codes, _values in parts])
    assert len({*rows.tolist()}) == len(rows)
    return len(rows) / len(raw)


def text(values):
    return pa.array(values, pa.large_string())


# --- the same verdicts -------------------------------------------------------------------------------------


@every("home", HOMES)
def test_many_are_judged_as_each_alone(home):
    """All columns agree with the single verdicts, and most contacts did not need them."""
    people = some_people(1, home, 450)
    assert_same(people, home)
    phones, emails = text(people["phone"].dropna()), text(people["email"].dropna())
    assert share([*judge_phones(phones, home)], phones) > 0.6
    assert share([*judge_emails(emails)], emails) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("home", HOMES)
def test_very_many_are_judged_as_each_alone(home):
    """The same on 240,000 people from 36 countries, read in a dozen."""
    assert_same(some_people(2, home, 20_000), home)


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(5))
def test_every_region_is_judged_as_each_alone(turn):
    """The rules of each region that libphonenumber knows, for its own and its neighbours' numbers."""
    chance = random.Random(turn)
    for home in sorted(phonenumbers.SUPPORTED_REGIONS)[turn::5]:
        code = phonenumbers.country_code_for_region(home)
        regions = [home, *phonenumbers.region_codes_for_country_code(code), chance.choice(ORIGINS)]
        national = {region: examples(region) for region in regions if examples(region)}
        phones = [some_phone(chance, home, national) for _ in range(500)]
        assert_same(some_frame(phone=phones), home)


def test_every_letter_everywhere_in_a_phone():
    """Whatever letter stands wherever in a number, the verdict is the same."""
    forms = each(
        "{}4155550100|415{}555-0100|4155550100{}|{}+14155550100|+{}14155550100|4155550100.0{}|{}4155550100.0|"
        "415 555 0100 e{}t 12|415 555 0100{}x12|415 555 0100 x12{}|415 555 0100 exten{}ion 5"
    )
    places = (*range(0x180), *range(0x2000, 0x2070), *range(0xFF00, 0xFF70), 0x30FC, 0x212A)
    assert_same(some_frame(phone=[form.format(chr(n)) for form in forms for n in places]), "US")


def test_every_letter_everywhere_in_an_email():
    """Whatever letter stands wherever in an address, the verdict is the same."""
    forms = each(
        "{0}na@mail.test|a{0}a@mail.test|an{0}@mail.test|ana{0}mail.test|ana@{0}ail.test|ana@m{0}l.test|{0}|"
        "ana@mai{0}.test|ana@mail{0}test|ana@mail.{0}est|ana@mail.t{0}t|ana@mail.tes{0}|a{0}{0}b@mail.test"
    )
    places = (*range(0x180), 0x200B, 0x212A, 0x3002, 0xFEFF, 0xFF20)
    assert_same(some_frame(email=[form.format(chr(n)) for form in forms for n in places]), "US")


@every("home", ["US", "GB", "AR", "MG"])
def test_edges_of_phones(home):
    """Where a step of libphonenumber sets a limit, both sides of it are judged alike."""
    phones = each(
        "01144|011441|011|0110|+011|+0011|0044|00441|00440|+0|+00|000|0000000|100|+100|1|+1|99|+99|999|+44|+447|"
        "415555.0|4155550.0|415555010012345.0|4155550100123456.0|+4155550.0|4155550.00|415 5550100.0|"
        "12345678901234567|123456789012345678|+4412345678901234567|+44123456789012345678|"
        "+1 415 555 0100 x123456789|+1 415 555 0100 x1234567890|15 x5|1 5 x5|155 x5|(415|"
        ")415(5550100|+(1)4155550100|;phone-context=4155550100|;phone-context=+14155550100|a;isub=4155550100"
    )
    phones += ["4155550100" + " " * spaces + tail for spaces in (89, 90, 91) for tail in ("", "1", "x1", "٤")]
    assert_same(some_frame(phone=phones), home)


@every("length", [62, 63, 64, 65, 66, 252, 253, 254, 255, 256])
def test_lengths_of_emails(length):
    """At each limit of length, an address is judged alike: of a label, a domain, the whole."""
    labels = "a" * 60 + "." + "b" * 60 + "." + "c" * 60 + "."
    dotted = "ab." * length
    emails = [
        "a@" + "b" * (length - 5) + ".de",
        "a@" + "b" * (length - 2) + ".de",
        "a" * (length - 5) + "@b.de",
        dotted[: length - 6] + "x@b.de",
        ("a@" + labels + "d" * 99)[: length - 3] + ".de",
        "a@" + (labels + "d" * 99)[: length - 3] + ".de",
        "a@" + dotted[: length - 4] + "xy",
        "ž" * (length // 2 - 2) + "@b.de",
    ]
    assert_same(some_frame(email=emails), "US")
    assert (check_email(emails[3]).code == "ok") == (len(emails[3]) <= 254)


def test_reserved_domains_are_the_librarys(monkeypatch):
    """Domains on the library's list are refused, and a program's own additions to it."""
    monkeypatch.setattr(email_validator, "SPECIAL_USE_DOMAIN_NAMES", ["test", "local", "shop.example", "x-y"])
    names = [
        "local",
        "a.local",
        "alocal.de",
        "shop.example",
        "my.shop.example",
        "myshop.example",
        "my.shopxexample",
        "a.x-y",
        "b.arpa",
        "a.test",
    ]
    people = some_frame(email=[f"ana@{name}" for name in names])
    assert_same(people, "US")
    found = dict(zip(names, judged_together(people, "US")[0], strict=True))
    assert found["my.shop.example"] == "email_invalid"
    assert found["b.arpa"] == "ok"


# --- what is judged by the column --------------------------------------------------------------------------


@every(
    "raw, region",
    [
        ("4155550100", "US"),
        ("(415) 555-0100", "US"),
        (" 415.555.0100\n", "US"),
        ("1-415-555-0100", "US"),
        ("+1 (415) 555-0100", "US"),
        ("tel:+14155550100", "GB"),
        ("'+14155550100", "US"),
        ("+1\u00a0415\u00a0555\u20130100", "US"),
        ("4155550100.0", "US"),
        ("415-555-0100 x12", "US"),
        ("(415) 555-0100 ext. 12", "US"),
        ("011 44 7700 900123", "US"),
        ("0044 7700 900123", "DE"),
        ("07700 900123", "GB"),
        ("+44 (0)7700 900123", "US"),
        ("06 12345678", "IT"),
        ("+39 06 1234 5678", "US"),
        ("+54 9 11 2345 6789", "US"),
        ("011 15 2345 6789", "AR"),
        ("0 11 91234 5678", "BR"),
        ("0 15 11 91234 5678", "BR"),
        ("090-1234-5678", "JP"),
        ("8 912 345 67 89", "RU"),
        ("242-5678", "BS"),
        ("415555010", "US"),
        ("447700900123", "US"),
    ],
)
def test_usual_phones_are_plain(raw, region):
    """The usual formats are judged by the column, with the single verdict."""
    ((_rows, codes, values),) = [part for part in judge_phones(text([raw]), region) if len(part[0])]
    expected = check_phone(raw, region)
    assert (CODES[codes[0]], values[0]) == (expected.code, expected.value)


@every(
    "raw, value",
    [
        ("ana@mail.test", "ana@mail.test"),
        (" Ana.Lee+sms@Mail.TEST\n", "ana.lee+sms@mail.test"),
        ("o'brien@a-b.example.org", "o'brien@a-b.example.org"),
        ("INFO@x1.de", "info@x1.de"),
        ("ana@mail", None),
        ("ana.mail.test", None),
        ("ana@mail..test", None),
        ("ana lee@mail.test", None),
        ('"ana"@mail.test', None),
        ("Ana <ana@mail.test>", None),
        ("ana@[127.0.0.1]", None),
        ("ana@mail.local", None),
        ("n/a", None),
    ],
)
def test_usual_emails_are_plain(raw, value):
    """The usual addresses, good and bad, are judged by the column."""
    ((_rows, code, values),) = [part for part in judge_emails(text([raw])) if len(part[0])]
    assert CODES[code] == ("ok" if value else "email_invalid")
    assert (values if values is None else values[0]) == value


@every(
    "raw",
    each(
        "٤١٥٥٥٥٠١٠٠|4.15E+09|1-800-FLOWERS|4155550100;ext=5|12||++14155550100|\u00a04155550100.0|"
        "415-555-0100x12|415-555-0100 x12345678|+999 123 456|+011 44 7700 900123"
    ),
)
def test_unusual_phones_are_left(raw):
    """What libphonenumber reads in more than digits is left to it."""
    assert [part for part in judge_phones(text([raw]), "US") if len(part[0])] == []


@every("raw", ["ž@mail.test", "a@xn--bcher-kva.de", "a@test", "", "\u00a0", "a" * 64, "ab." * 99])
def test_unusual_emails_are_left(raw):
    """What takes more than a pattern to judge is left to the library."""
    assert [part for part in judge_emails(text([raw])) if len(part[0])] == []


# --- numbering plans ---------------------------------------------------------------------------------------


def test_every_country_has_a_plan():
    """The data of all countries but a few is of the plain kind."""
    codes, regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE, phonenumbers.SUPPORTED_REGIONS
    assert sum(plan_of_code(code) is not None for code in codes) > 0.95 * len(codes)
    assert sum(plan_of_region(region) is not None for region in regions) > 0.95 * len(regions)


def test_lengths_are_the_librarys():
    """For each country code and length, the plan says what the library says."""
    result = phonenumbers.ValidationResult
    codes = {result.IS_POSSIBLE: "ok", result.IS_POSSIBLE_LOCAL_ONLY: "phone_local_only"}
    codes |= {result.TOO_SHORT: "phone_too_short", result.TOO_LONG: "phone_too_long"}
    codes |= {result.INVALID_LENGTH: "phone_impossible"}
    for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
        for digits in range(2, 19):
            number = phonenumbers.PhoneNumber(country_code=code, national_number=10 ** (digits - 1))
            expected = codes[phonenumbers.is_possible_number_with_reason(number)]
            assert CODES[plan_of_code(code).lengths[digits]] == expected


def test_country_codes_are_the_librarys():
    """Any three digits after a plus start with the country code that the library finds in them, or none."""
    for start in range(1000):
        try:
            expected = phonenumbers.parse(f"+{start:03}5550100").country_code
        except phonenumbers.NumberParseException:
            expected = 0
        assert codes_by_start()[start] == expected


@pytest.mark.parametrize(
    "change",
    [
        {"national_number_pattern": r"(?!1)\d{10}"},
        {"national_number_pattern": r"[1-9]\d{9}+"},
        {"national_number_pattern": r"(?:(?:\d{40}){40}){40}"},
        {"national_number_pattern": None},
        {"national_prefix_for_parsing": r"(1)\1"},
        {"international_prefix": r"0\b11"},
        {"possible_length": (1, 10)},
        {"possible_length": (10, 18)},
    ],
    ids=str,
)
def test_data_of_another_kind_is_left_to_the_library(change):
    """A pattern that Arrow might read otherwise, or a length beyond the parser's, makes no plan."""
    facts = {
        "country_code": 1,
        "national_number_pattern": r"[2-9]\d{9}",
        "possible_length": (10,),
        "possible_length_local_only": (7,),
        "national_prefix_for_parsing": "1",
        "national_prefix_transform_rule": None,
        "international_prefix": "011",
    }
    plain, other = (
        SimpleNamespace(general_desc=SimpleNamespace(**data), **data) for data in (facts, facts | change)
    )
    assert read_plan(plain).lengths[7] == NUMBER["phone_local_only"]
    assert read_plan(other) is None


# --- frames ------------------------------------------------------------------------------------------------


def test_more_people_than_are_judged_at_once():
    """Batches join in order, whatever of them was repeated or missing."""
    count = 150_000
    numbers = np.arange(count)
    phones = pd.Series([f"(415) {n % 90_000 + 2_000_000:07}" for n in numbers]).where(numbers % 7 > 0)
    emails = pd.Series([f"A{n}@Mail.test" for n in numbers]).where(numbers % 5 > 0)
    people = pd.DataFrame({"person": [f"user:{n}" for n in numbers], "email": emails, "phone": phones})
    found = check_contacts(people.iloc[::-1])
    assert found.index.equals(people.index[::-1])
    pd.testing.assert_frame_equal(found[["person", "email", "phone"]], people.iloc[::-1].astype("str"))
    assert (found["phone_code"] == np.where(numbers[::-1] % 7 > 0, "ok", "absent")).all()
    assert found["email_clean"].equals(found["email"].str.lower())
    assert found["phone_e164"].equals(("+1415" + found["phone"].str[-7:]).astype("str"))


def test_frames_of_other_kinds():
    """Numbers and categories are read as text, labels may repeat, and nothing is changed in place."""
    emails = pd.Series(["a@mail.test", "a@mail.test", None], dtype="category")
    people = pd.DataFrame({"person": [1, 2, 2], "email": emails, "phone": [4155550100.0, None, 14155550100]})
    people = people.set_axis(["x", "x", "y"])
    before = people.copy(deep=True)
    found = check_contacts(people)
    assert found["phone_e164"].fillna("").tolist() == ["+14155550100", "", "+14155550100"]
    assert found["email_code"].tolist() == ["ok", "ok", "absent"]
    assert [*found.index] == ["x", "x", "y"]
    pd.testing.assert_frame_equal(people, before)


def test_halves_of_characters():
    """A text that no text column can hold is judged as it would be alone."""
    emails = ["ana\ud800@mail.test", "ana@mail.test", "\udfff", None]
    phones = ["4155550100\ud800", "415\ud800555-0100", None, "\ud800"]
    people = some_frame(email=emails, phone=phones)
    assert_same(people, "US")
    assert check_contacts(people)["email"][0] == "ana\uffff@mail.test"


def test_hostile_texts():
    """Megabytes of text are refused like any other, whatever they are made of."""
    parts = ["a", "1", "@", ".", "a.", '"', "<", "+", " ", "٤", "😀", "1 ", "x1", "\x00"]
    hostile = [part * (1_000_000 // len(part)) for part in parts]
    people = pd.DataFrame({"person": range(len(hostile)), "email": hostile, "phone": hostile})
    found = check_contacts(people)
    assert {*found["phone_code"]} == {"phone_not_a_number", "absent"}
    assert {*found["email_code"]} == {"email_invalid", "absent"}
