"""Invented subscribers: the same ones for the same seed, with the oddities real lists have.

Phones come from ranges set aside for fiction: +1 NXX 555 01xx, and 0xxx blocks in British and 55xx
ranges in Australian area codes. When a range is used up (beyond some 36,000 people) the number is
made under +999, a country code that is assigned to nobody. Emails end in ``.test``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from .wire import format_timestamp

AUDIENCE_PROPERTY = "Segment Audiences"

QUIRKS = {
    "no_email": 14,
    "no_phone": 4,
    "shared_email": 4,
    "opted_out": 10,
    "mixed_case_email": 6,
    "non_us_phone": 6,
    "49_properties": 1,
    "50_properties": 1,
    "wrong_typed_audiences": 2,
    "repeated_audience": 2,
    "audiences": 20,
}
"""How many of every hundred people have which oddity; the rest have none."""

# Geographic area codes of the United States, in use.
_AREA_CODES_IN_USE = """
201 202 203 205 206 207 208 209 210 212 213 214 215 216 217 218 219 220 223 224 225 227 228 229 231 234
235 239 240 248 251 252 253 254 256 260 262 267 269 270 272 274 276 279 281 283 301 302 303 304 305 307
308 309 310 312 313 314 315 316 317 318 319 320 321 323 324 325 326 327 329 330 331 332 334 336 337 339
341 346 347 350 351 352 353 360 361 363 364 369 380 385 386 401 402 404 405 406 407 408 409 410 412 413
414 415 417 419 423 424 425 430 432 434 435 440 442 443 445 447 448 458 463 464 469 470 472 475 478 479
480 484 501 502 503 504 505 507 508 509 510 512 513 515 516 517 518 520 530 531 534 539 540 541 551 557
559 561 562 563 564 567 570 571 572 573 574 575 580 582 585 586 601 602 603 605 606 607 608 609 610 612
614 615 616 617 618 619 620 623 626 628 629 630 631 636 640 641 645 646 650 651 656 657 659 660 661 662
667 669 678 680 681 682 686 689 701 702 703 704 706 707 708 712 713 714 715 716 717 718 719 720 724 725
726 727 728 730 731 732 734 737 738 740 743 747 748 754 757 760 762 763 765 769 770 771 772 773 774 775
779 781 785 786 801 802 803 804 805 806 808 810 812 813 814 815 816 817 818 820 821 826 828 830 831 832
835 838 839 840 843 845 847 848 850 854 856 857 858 859 860 862 863 864 865 870 872 878 901 903 904 906
907 908 909 910 912 913 914 915 916 917 918 919 920 925 928 929 930 931 934 936 937 938 940 941 943 945
947 948 949 951 952 954 956 959 970 971 972 973 975 978 979 980 983 984 985 986 989
"""
AREA_CODES = tuple(_AREA_CODES_IN_USE.split())
_BRITISH_AREAS = "207946 113496 114496 116496 117496 118496 121496 131496 141496 151496 161496 191498"
FOREIGN_RANGES = (
    *(f"+44{area}0" for area in _BRITISH_AREAS.split(" ")),
    *(f"+61{area}5550" for area in "2378"),
)
"""Beginnings that take three digits (United Kingdom) or four (Australia) more."""

_AUDIENCES = ("vip_customers", "lapsed_90d", "winback_q3", "high_aov", "new_arrivals")
_FIRST_SIGN_UP = datetime(2023, 1, 1, tzinfo=UTC)
_SIGN_UP_MINUTES = 3 * 365 * 24 * 60
_CUSTOMER_BASE = 6_110_000_000_000


def generate_people(count: int, *, seed: int) -> Iterator[dict[str, Any]]:
    """Make *count* subscribers; fewer people are the beginning of more.

    >>> first, = generate_people(1, seed=1)
    >>> first["id"]
    's_0000000'
    """
    chance = random.Random(seed)  # noqa: S311 - invented people, not secrets
    slots = [quirk for quirk, share in QUIRKS.items() for _ in range(share)]
    slots += [""] * (100 - len(slots))
    chance.shuffle(slots)
    for number in range(count):
        yield _person(number, slots[number % len(slots)], chance)


def _person(number: int, quirk: str, chance: random.Random) -> dict[str, Any]:
    signed_up = _FIRST_SIGN_UP + timedelta(minutes=chance.randrange(_SIGN_UP_MINUTES))
    changed = signed_up + timedelta(minutes=chance.randrange(200_000))
    consent = {"can_send": quirk != "opted_out"}
    return {
        "id": f"s_{number:07d}",
        "ps_id": 900_000 + number,
        "phone_number": _phone(number, quirk),
        "email": _email(number, quirk),
        "shopify_customer_id": _CUSTOMER_BASE + number if chance.random() < 0.8 else None,
        "created_at": format_timestamp(signed_up),
        "updated_at": format_timestamp(changed),
        "data": {},
        "properties": _properties(quirk, chance),
        "subscriptions": {"promotional": consent, "transactional": consent},
        "tags": ["VIP"] if chance.random() < 0.1 else [],
    }


def _phone(number: int, quirk: str) -> str | None:
    if quirk == "no_phone":
        return None
    if quirk == "non_us_phone":
        return _foreign_phone(number)
    line, area = divmod(number, len(AREA_CODES))
    return f"+1{AREA_CODES[area]}55501{line:02d}" if line < 100 else _spare_phone(number)


def _foreign_phone(number: int) -> str:
    line, place = divmod(number, len(FOREIGN_RANGES))
    start = FOREIGN_RANGES[place]
    digits = 3 if start.startswith("+44") else 4
    return f"{start}{line:0{digits}d}" if line < 10**digits else _spare_phone(number)


def _spare_phone(number: int) -> str:
    return f"+999{number:09d}"


def _email(number: int, quirk: str) -> str | None:
    if quirk == "no_email":
        return None
    if quirk == "shared_email":
        return f"household{number // 100}@mail.test"  # one for all who share within a hundred
    if quirk == "mixed_case_email":
        return f"Shopper.{number}@Mail.Test"
    return f"shopper.{number}@mail.test"


def _properties(quirk: str, chance: random.Random) -> dict[str, Any]:
    if quirk in {"49_properties", "50_properties"}:
        return {f"custom {index}": index for index in range(int(quirk[:2]))}
    properties: dict[str, Any] = {}
    if chance.random() < 0.5:
        properties["loyalty_points"] = chance.randrange(2000)
    if quirk == "wrong_typed_audiences":
        properties[AUDIENCE_PROPERTY] = chance.choice([_AUDIENCES[0], 7, True])
    if quirk == "repeated_audience":
        properties[AUDIENCE_PROPERTY] = [_AUDIENCES[0], _AUDIENCES[1], _AUDIENCES[0]]
    if quirk == "audiences":
        properties[AUDIENCE_PROPERTY] = chance.sample(_AUDIENCES, k=chance.randrange(1, 4))
    return properties
