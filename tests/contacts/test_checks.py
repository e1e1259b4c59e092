import random
import string

import pandas as pd
import pytest
from tables import every

from toolkit.contacts.bulk import check_contacts
from toolkit.contacts.checks import CONTACT_VERDICTS, check_email, check_phone, check_region, phone_digits
from toolkit.contacts.masks import mask_email, mask_phone, mask_text
from toolkit.errors import ParameterError

COLUMNS = ["person", "email", "phone", "email_code", "phone_code", "email_clean", "phone_e164"]


def people_frame(*rows, index=None):
    return pd.DataFrame(rows, columns=["person", "email", "phone"], dtype="str", index=index)


def some_phone(chance):
    """Return a reserved US number, as ten digits."""
    return f"{chance.choice(['202', '415', '604'])}55501{chance.randrange(100):02}"


def some_email(chance):
    letters = string.ascii_letters + string.digits
    local = "".join(chance.choices(letters + "._+-", k=chance.randrange(1, 20)))
    return f"{local}@{chance.choice(['mail.test', 'shop.example', 'a.b.example.test'])}"


# --- phones ------------------------------------------------------------------------------------------------


@every(
    "raw",
    [
        "4155550100",
        "(415) 555-0100",
        "415.555.0100",
        "415 555 0100",
        "415/555-0100",
        "  415-555-0100\n",
        "1-415-555-0100",
        "14155550100",
        "+14155550100",
        "+1 (415) 555-0100",
        "01114155550100",
        "tel:+1-415-555-0100",
        "+1\u00a0415\u00a0555\u00a00100",
        "415\u2013555\u20130100",
        "\u200e+14155550100",
        "'+14155550100",
        "4155550100.0",
        "14155550100.00",
        "+14155550100.0",
        "٤١٥٥٥٥٠١٠٠",
        "４１５５５５０１００",
        "415-555-0100 x12",
        "415-555-0100 ext. 12",
        "+1 415 555 0100 extension 9",
        "(415) 555 0100 # 22",
        "4155550100;ext=5",
    ],
)
def test_formats_of_one_phone(raw):
    """However a number is written, and whatever extension follows, it is one E.164 number."""
    verdict = check_phone(raw, "US")
    assert (verdict.code, verdict.value) == ("ok", "+14155550100")


@pytest.mark.parametrize(
    ("raw", "region", "value"),
    [
        pytest.param("07700 900123", "GB", "+447700900123", id="national, mobile"),
        pytest.param("020 7946 0123", "GB", "+442079460123", id="national, London"),
        pytest.param("(020) 7946-0123", "GB", "+442079460123", id="trunk zero in brackets"),
        pytest.param("+44 (0)7700 900123", "US", "+447700900123", id="zero after the code"),
        pytest.param("011 44 7700 900123", "US", "+447700900123", id="dialled from the US"),
        pytest.param("00 1 415 555 0100", "GB", "+14155550100", id="dialled from Britain"),
        pytest.param("604-555-0123", "CA", "+16045550123", id="Canada"),
        pytest.param("604-555-0123", "US", "+16045550123", id="Canada from the US: one numbering plan"),
        pytest.param("+1 415 555 0100", "GB", "+14155550100", id="a plus outweighs the region"),
    ],
)
def test_countries(raw, region, value):
    """A number without a country code is read as dialled in the region, one with a code anywhere alike."""
    assert check_phone(raw, region).value == value


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        pytest.param("", "absent", id="empty"),
        pytest.param(" \t\n", "absent", id="blank"),
        pytest.param("4.1556E+09", "phone_spreadsheet_damage", id="point"),
        pytest.param("4,1556E+09", "phone_spreadsheet_damage", id="comma"),
        pytest.param("1.4155550100e10", "phone_spreadsheet_damage", id="lower e, no plus, all digits"),
        pytest.param("4E+9", "phone_spreadsheet_damage", id="no fraction"),
        pytest.param("415555010", "phone_too_short", id="a digit lost"),
        pytest.param("+1415555010", "phone_too_short", id="a digit lost, with its code"),
        pytest.param("123", "phone_too_short", id="short code"),
        pytest.param("4155550100 4155550101", "phone_too_long", id="two numbers, spaced"),
        pytest.param("415-555-0100 / 415-555-0101", "phone_too_long", id="two numbers"),
        pytest.param("14155550100.5", "phone_too_long", id="a fraction is no float of a phone"),
        pytest.param("07700 900123", "phone_too_long", id="British, read in the US"),
        pytest.param("41555501000", "phone_too_long", id="a digit too many is no Swiss number"),
        pytest.param("447700900123", "phone_too_long", id="another country's number without its plus"),
        pytest.param("555-0100", "phone_local_only", id="no area code"),
        pytest.param("+999 123 456 789", "phone_unknown_country", id="no such country"),
        pytest.param("+", "phone_not_a_number", id="plus alone"),
        pytest.param("0", "phone_not_a_number", id="zero"),
        pytest.param("n/a", "phone_not_a_number", id="n/a"),
        pytest.param("nan", "phone_not_a_number", id="nan"),
        pytest.param("None", "phone_not_a_number", id="None"),
        pytest.param("true", "phone_not_a_number", id="true"),
        pytest.param("ana@mail.test", "phone_not_a_number", id="an email"),
        pytest.param("{{phone}}", "phone_not_a_number", id="template left over"),
        pytest.param("+1" * 200, "phone_not_a_number", id="very long"),
        pytest.param("4155550100" + " " * 100 + "x", "phone_not_a_number", id="long tail"),
        pytest.param("\ud800", "phone_not_a_number", id="lone surrogate"),
    ],
)
def test_phones_that_cannot_be_used(raw, code):
    """Damaged and incomplete numbers have verdicts of their own; none of them has a value."""
    verdict = check_phone(raw, "US")
    assert (verdict.code, verdict.value) == (code, None)


@every("seed", range(100))
def test_dressing_up_a_phone_changes_nothing(seed):
    """Separators, prefix, float tail and extension do not change the number; judging it again neither."""
    chance = random.Random(seed)
    digits = some_phone(chance)
    spaced = chance.choice(["{}{}{}", "({}) {}-{}", "{}.{}.{}", "{} {} {}", "{}-{}-{}"]).format(
        digits[:3], digits[3:6], digits[6:]
    )
    prefix = chance.choice(["", "1 ", "+1 ", "+1-", "tel:+1", "011 1 "])
    tail = chance.choice(["", " x7", " ext 123", ";ext=4", " "])
    verdict = check_phone(prefix + spaced + tail, "US")
    assert verdict.value == f"+1{digits}"
    assert check_phone(verdict.value, "GB") == verdict


@every("seed", range(100))
def test_any_text_gets_a_known_verdict(seed):
    """Whatever text comes in, the verdict is one we can explain, and only ok has a value, which is stable."""
    chance = random.Random(seed)
    alphabet = chance.choice([string.printable, string.digits + "+-(). x", "٤@é\u200b\ud800eE.,0123"])
    text = "".join(chance.choices(alphabet, k=chance.randrange(40)))
    for verdict, again in (
        (check_phone(text, "US"), lambda v: check_phone(v, "US")),
        (check_email(text), check_email),
    ):
        assert verdict.code in CONTACT_VERDICTS
        assert (verdict.value is not None) == (verdict.code == "ok")
        assert verdict.value is None or again(verdict.value) == verdict


@every("seed", range(50))
def test_phone_digits_are_ascii_and_stay_put(seed):
    """Whatever comes in, only 0-9 comes out, and doing it again changes nothing."""
    chance = random.Random(seed)
    digits = phone_digits("".join(chance.choices(string.printable + "٣４", k=chance.randrange(30))))
    assert set(digits) <= set(string.digits)
    assert phone_digits(digits) == digits


# --- emails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        pytest.param("ana@mail.test", "ana@mail.test", id="plain"),
        pytest.param("  Ana.Lee@Mail.TEST \n", "ana.lee@mail.test", id="case and space"),
        pytest.param("ANA+sms@mail.test", "ana+sms@mail.test", id="a tag stays"),
        pytest.param("STRAßE@mail.test", "straße@mail.test", id="lowered, not folded"),
        pytest.param("ana@xn--exmple-cua.test", "ana@exämple.test", id="one form of a foreign domain"),
        pytest.param("o'brien@a-b.example.test", "o'brien@a-b.example.test", id="apostrophe"),
    ],
)
def test_emails_that_can_be_used(raw, value):
    """An address is trimmed and case-folded, and otherwise left as it is."""
    verdict = check_email(raw)
    assert (verdict.code, verdict.value) == ("ok", value)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        pytest.param("", "absent", id="empty"),
        pytest.param("  ", "absent", id="blank"),
        *(
            pytest.param(raw, "email_invalid", id=raw[:30])
            for raw in (
                "n/a",
                "nan",
                "ana",
                "ana@",
                "@mail.test",
                "ana@localhost",
                "ana@@mail.test",
                "ana lee@mail.test",
                "ana.@mail.test",
                "ana@mail..test",
                "ana@[127.0.0.1]",
                "ana@mail.invalid",
                "mailto:ana@mail.test",
                "Ana <ana@mail.test>",
                "ana@mail.test,ben@mail.test",
                "+14155550100",
                "ana@" + "a" * 300 + ".test",
            )
        ),
    ],
)
def test_emails_that_cannot_be_used(raw, code):
    """What is not exactly one address has no value."""
    verdict = check_email(raw)
    assert (verdict.code, verdict.value) == (code, None)


# --- masks -------------------------------------------------------------------------------------------------


@every(
    "email, shown",
    [
        ("ana@mail.test", "a•••@mail.test"),
        (" ana@mail.test ", "a•••@mail.test"),
        ("a@mail.test", "a•••@mail.test"),
        ("ana@home@mail.test", "a•••@mail.test"),
        ("ana@shop-24.mail.test.", "a•••@shop-24.mail.test."),
        ("ana@bücher.test", "a•••@bücher.test"),
        ("ana@vip.163.com", "a•••@vip.163.com"),
        ("ana@gmail,com", "a•••@gmail,com"),
        ("ana@mail.co,uk", "a•••@mail.co,uk"),
        ("ana@gmail.com,bob.jones", "•••"),
        ("mail@gmail.com,Ana,Smith,Berlin", "•••"),
        ("ana@Smith,Berlin", "•••"),
        ("x@612.345.678", "•••"),
        ("x@612.345.test", "•••"),
        ("x@612-345-6789.test", "•••"),
        ("x@a6123456789.test", "•••"),
        ("x@smith", "•••"),
        ("x@mail..test", "•••"),
        ("x@mail_shop.test", "•••"),
        ("x@mail.test Ana", "•••"),
        (f"x@{'m' * 55}.test", f"x•••@{'m' * 55}.test"),
        (f"x@{'m' * 56}.test", "•••"),
        ("@mail.test", "•••@mail.test"),
        ("ana", "•••"),
        ("+1 415 555 0100", "•••"),
        ("", ""),
        (None, ""),
    ],
)
def test_masked_email(email, shown):
    """One letter and the domain are shown, and nothing of what may be no address; a mask stays as it is."""
    assert mask_email(email) == shown
    assert mask_email(shown) == shown


@every(
    "phone, shown",
    [
        ("+14155550123", "•••23"),
        ("(415) 555-0123", "•••23"),
        ("5550123", "•••23"),
        ("555012", "•••"),
        ("23", "•••"),
        ("ana@mail.test", "•••"),
        ("", ""),
        (None, ""),
    ],
)
def test_masked_phone(phone, shown):
    """Two digits are shown, and none of a number so short that these would reveal it."""
    assert mask_phone(phone) == shown


@pytest.mark.parametrize(
    ("person", "shown"),
    [
        pytest.param("user:cus_42", "user:cus_42", id="an id is shown"),
        pytest.param("anonymous:5f-1", "anonymous:5f-1", id="an anonymous id is shown"),
        pytest.param("user:8814155550123", "user:8814155550123", id="digits alone are an id"),
        pytest.param("user:ana@mail.test", "user:a•••@mail.test~", id="email as user id"),
        pytest.param("anonymous:a:ana@mail.test", "anonymous:a•••@mail.test~", id="a colon inside"),
        pytest.param("email:ana@mail.test", "email:a•••@mail.test~", id="email"),
        pytest.param("email:4155550123", "email:•••~", id="a phone in the email field"),
        pytest.param("user:+14155550123", "user:•••23~", id="phone as user id"),
        pytest.param("user:+1 (415) 555-0123", "user:•••23~", id="written phone as user id"),
        pytest.param("user:(415) 555-0123", "user:•••23~", id="phone as user id, no country code"),
        *(
            pytest.param(f"user:{name}", "user:•••03~", id=f"phone {name}")
            for name in (
                *("(202)555-0103", "1-202-555-0103", "202 5550103", "tel:+12025550103", "tel:2025550103"),
                *("+12025550103 home", "2025550103 home", "home 2025550103", "(2025550103)", "202/5550103"),
                *("202–555–0103", "+1.202.555.0103", "555-0103", "ana-202-555-0103", "ana2 202 555 0103"),
                "+12025550103home",
            )
        ),
        *(
            pytest.param(f"user:{name}", f"user:{name}", id=f"id {name}")
            for name in (
                *("cus_000123456", "cus-000123456", "order-2024-000123456", "shop/1234567", "shop:1234567"),
                *("5f1234567abc", "507f1f77bcf86cd799439011", "ab12-3456-7890-cd34", "1234-5678-ab12"),
                *("12345678-1234-4123-8123-123456789012", "123e4567-e89b-12d3-a456-426614174000"),
                *("2026-11-02", "2026/11/02", "sale-2026-11-02", "2026-11-02T10:00:00.123+01:00", "555-012"),
            )
        ),
        pytest.param("user:•••@+14155550123~12ab", "user:•••~", id="no mask: a phone for a domain"),
        pytest.param("user:•••@Ana Smith~12ab", "user:•••~", id="no mask: a name for a domain"),
        pytest.param("user:ana•••@mail.test~12ab", "user:•••~", id="no mask: a whole local part"),
        pytest.param("user:a•••@mail.test~12ab", "user:a•••@mail.test~12ab", id="a mask"),
        pytest.param("user:•••23~12ab", "user:•••23~12ab", id="a mask of a phone"),
        pytest.param("phone:4155550123", "phone:•••23~", id="phone"),
        pytest.param("phone:n/a", "phone:•••~", id="not a phone"),
    ],
)
def test_masked_person(person, shown):
    """A name that is a contact is masked, with four digits of a digest behind it; an id is left alone."""
    masked = mask_text(person)
    assert masked == mask_text(person) == mask_text(masked)
    if shown.endswith("~"):
        assert masked.startswith(shown)
        digest = masked.removeprefix(shown)
        assert len(digest) == 4
        assert set(digest) <= set(string.hexdigits)
    else:
        assert masked == shown


@every("seed", range(100))
def test_masks_show_no_contact(seed):
    """A masked email or phone shows one letter or two digits of what it hides, never more."""
    chance = random.Random(seed)
    email, digits = some_email(chance), some_phone(chance)
    phone = chance.choice([f"+1{digits}", digits, f"({digits[:3]}) {digits[3:6]}-{digits[6:]}"])
    local, _, domain = email.rpartition("@")
    assert mask_email(email) == f"{local[0]}•••@{domain}"
    assert phone_digits(mask_phone(phone)) == digits[-2:]
    for person in (f"user:{email}", f"email:{email}", f"user:+1{digits}", f"phone:{phone}"):
        assert email not in mask_text(person)
        assert digits[:8] not in phone_digits(mask_text(person).partition("~")[0])


def test_masked_persons_stay_apart():
    """Two persons whose masks look alike do not become one."""
    masked = {mask_text(f"phone:+1415555{n:02}23") for n in range(100)}
    assert len(masked) == 100


# --- frames ------------------------------------------------------------------------------------------------


def test_contacts_table():
    """Each person keeps the contacts as given, beside their verdicts, in the order and index given."""
    people = people_frame(
        ("user:1", "Ana@Mail.test", "(415) 555-0100"),
        ("user:2", None, "n/a"),
        ("user:3", "ana", None),
        ("user:4", " ", ""),
        ("user:5", "Ana@Mail.test", "4.1E+09"),
        index=[7, 3, 9, 1, 4],
    )
    before = people.copy(deep=True)
    found = check_contacts(people)
    assert [*found.columns] == COLUMNS
    assert [*found.index] == [7, 3, 9, 1, 4]
    assert found.astype("object").where(found.notna(), None).to_numpy().tolist() == [
        ["user:1", "Ana@Mail.test", "(415) 555-0100", "ok", "ok", "ana@mail.test", "+14155550100"],
        ["user:2", None, "n/a", "absent", "phone_not_a_number", None, None],
        ["user:3", "ana", None, "email_invalid", "absent", None, None],
        ["user:4", " ", "", "absent", "absent", None, None],
        ["user:5", "Ana@Mail.test", "4.1E+09", "ok", "phone_spreadsheet_damage", "ana@mail.test", None],
    ]
    pd.testing.assert_frame_equal(people, before)


@pytest.mark.parametrize("rows", [[], [("user:1", None, None)]], ids=["no people", "no contacts"])
def test_contacts_table_keeps_its_types(rows):
    """No people, or people without a contact, give the same text columns."""
    found = check_contacts(people_frame(*rows))
    assert len(found) == len(rows)
    assert {*found.dtypes.astype("str")} == {"str"}


@every("region, known", [("US", "US"), (" gb ", "GB"), ("ca", "CA")])
def test_region(region, known):
    """A region is read in either case, spaces aside."""
    assert check_region(region) == known


@every("region", ["", "UK", "USA", "001", "+1", "United States"])
def test_unknown_region(region):
    """An unknown region is refused before any number is judged by it."""
    with pytest.raises(ParameterError, match="default_region"):
        check_contacts(people_frame(), default_region=region)


def test_default_region_is_used():
    """The region of the call, not the first one ever used, reads a number."""
    people = people_frame(("user:1", None, "020 7946 0123"))
    assert check_contacts(people, default_region="gb")["phone_e164"].tolist() == ["+442079460123"]
    assert check_contacts(people, default_region="US")["phone_code"].tolist() == ["phone_too_long"]


def test_every_verdict_is_explained():
    """Every verdict has a sentence, and all but ok something to do."""
    for code, (meaning, fix) in CONTACT_VERDICTS.items():
        assert meaning.endswith(".")
        assert bool(fix) == (code != "ok")
