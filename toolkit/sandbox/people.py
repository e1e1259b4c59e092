"""Invented subscribers: the same ones for the same seed, with the oddities real lists have.

Phones come from ranges set aside for fiction: +1 NXX 555 01xx, and 0xxx blocks in British area codes.
When a range is used up (beyond 10,000 people) the number is made under +999, a country code that is not
assigned. Emails end in ``.test``.
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

# Geographic area codes of the United States, and geographic areas of the United Kingdom.
_AREA_CODES = """
201 202 203 205 206 207 208 209 210 212 213 214 215 216 217 218 219 220 223 224 225 227 228 229 231 234
235 239 240 248 251 252 253 254 256 260 262 267 269 270 272 274 276 279 281 283 301 302 303 304 305 307
308 309 310 312 313 314 315 316 317 318 319 320 321 323 324 325 326 327 329 330 331 332 334 336 337 339
341 346 347 350 351 352 353 360 361 363 364 369 380 385 386 401 402 404 405 406 407 408 409 410 412 413
"""
AREA_CODES = tuple(_AREA_CODES.split())
_BRITISH_AREAS = "207946 113496 114496 116496 117496 118496 121496 131496 141496 151496 161496 191498"
BRITISH_AREAS = tuple(_BRITISH_AREAS.split(" "))

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
    areas = BRITISH_AREAS if quirk == "non_us_phone" else AREA_CODES
    line, place = divmod(number, len(areas))
    if quirk == "non_us_phone" and line < 1000:
        return f"+44{areas[place]}0{line:03d}"
    return f"+1{areas[place]}55501{line:02d}" if areas is AREA_CODES and line < 100 else f"+999{number:09d}"


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
