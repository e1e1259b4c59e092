"""Postscript's Partner API v2 as data: what to ask, and how to read what comes back.

Nothing here touches a network. Facts and defensive choices: the toolkit's docs/design/postscript.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from toolkit.errors import LostAnswerError, PostscriptError, RejectedError, ServerError

AUDIENCES_PROPERTY = "Segment Audiences"
ENTERED = "Segment_Audience_Entered"
EXITED = "Segment_Audience_Exited"
MAX_IN = 100
"""Values asked for in one ``__in`` lookup; the API's own limit is not published."""
MAX_PROPERTIES = 50

TRANSIENT = frozenset({408, 423, 429, *range(500, 600)} - {501})
"""Status codes that may be different the next time (Segment's retry list)."""
REFUSED_UNREAD = frozenset({423, 429})
"""Transient, and certainly not carried out: safe to repeat even for a custom event."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request to the API, ready to be sent."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, Any] | None = None
    repeatable: bool = True
    """False when doing it twice is worse than not knowing whether it was done."""
    max_tries: int = 8
    """Times it is sent at the most, when trying again may help."""

    @property
    def route(self) -> str:
        """Method and path with ids left out, for counting: ``PATCH /subscribers/{id}``."""
        parts = self.path.removeprefix("/api/v2/").split("/")
        return f"{self.method} /{parts[0]}{'/{id}' if len(parts) > 1 else ''}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back: a success code and its JSON."""

    status_code: int
    json: Any = None
    tries: int = 1


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The shop a key belongs to."""

    shop_id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Subscriber:
    """The part of Postscript's record that a sync looks at."""

    subscriber_id: str
    phone: str
    email: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    can_send: bool | None
    """Promotional consent; None when the record does not say."""
    updated_at: str


class Page(NamedTuple):
    """One page of a list of subscribers."""

    rows: list[Subscriber]
    total: int | None = None
    """Pages there are; None when the answer does not say."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Who is on the page, in its order."""
        return tuple(row.subscriber_id for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class QueryEncoding:
    """How a shop takes a query for several people; none of it is published."""

    style: str = "repeated"
    """``repeated`` keys, one ``comma`` list, or a ``single`` value a call."""
    plus: bool = False
    """True when phones are asked for with their plus."""
    max_in: int = MAX_IN
    """Values in one query."""


REPEATED = QueryEncoding()
ONE_BY_ONE = QueryEncoding(style="single", max_in=1)


def ask_shop() -> Request:
    """Ask which shop the key belongs to, with few tries: a wrong address should be noticed in seconds."""
    return Request(method="GET", path="/api/v2/me", max_tries=3)


def find_by_contact(values: Sequence[str], encoding: QueryEncoding = REPEATED, *, page: int = 1) -> Request:
    """Ask for the subscribers with one of these emails, or one of these phones, digits with country code."""
    field_name = "email" if any("@" in value for value in values) else "phone_number"
    if encoding.plus and field_name == "phone_number":
        values = [f"+{digits}" for digits in values]
    listed = [",".join(values)] if encoding.style == "comma" else values
    name = f"{field_name}__{'eq' if encoding.style == 'single' else 'in'}"
    # A pinned order: paging is by number over a set that others may change meanwhile.
    return _get_page([(name, value) for value in listed], "created_at__asc", page)


def list_subscribers(*, sort: str, page: int = 1, since: datetime | None = None) -> Request:
    """Ask for one page of all subscribers, or of those who changed since a moment."""
    return _get_page([("updated_at__gte", format_time(since))] if since else [], sort, page)


def _get_page(filters: Sequence[tuple[str, str]], sort: str, page: int) -> Request:
    query = (*filters, ("sort", sort), ("page", str(page)))
    return Request(method="GET", path="/api/v2/subscribers", query=query)


def get_subscriber(subscriber_id: str) -> Request:
    """Ask for one subscriber by id."""
    return Request(method="GET", path=_path_of(subscriber_id))


def write_properties(subscriber_id: str, properties: Mapping[str, Any]) -> Request:
    """Write these properties, each whole; others are not named and so stay as they are."""
    held = {name: [*value] if isinstance(value, tuple) else value for name, value in properties.items()}
    return Request(method="PATCH", path=_path_of(subscriber_id), body={"properties": held})


def _path_of(subscriber_id: str) -> str:
    return f"/api/v2/subscribers/{quote(subscriber_id, safe='')}"


WRITE_ROUTE = write_properties("id", {}).route


def post_transition(
    subscriber_id: str, *, entered: bool, audience_key: str, audience_id: str | None, external_id: str
) -> Request:
    """Post the custom event of one transition; it can start a text message, so it is sent once."""
    named = {} if audience_id is None else {"Segment Audience ID": audience_id}
    body = {
        "type": ENTERED if entered else EXITED,
        "subscriber_id": subscriber_id,
        "external_id": external_id,
        "properties": {**named, "Segment Audience Key": audience_key},
    }
    return Request(method="POST", path="/api/v2/events", body=body, repeatable=False)


EVENT_ROUTE = post_transition("id", entered=True, audience_key="", audience_id=None, external_id="").route


def parse_shop(answer: Answer) -> Shop:
    """Read the answer to ask_shop(); ServerError when it is not one."""
    data = _object(answer.json)
    if not data.get("resource_id"):
        sentence = "The answer to GET /me names no shop. Check POSTSCRIPT_BASE_URL."
        raise ServerError(sentence, status_code=answer.status_code)
    return Shop(shop_id=str(data["resource_id"]), name=str(data.get("resource_name") or ""))


def parse_page(answer: Answer) -> Page:
    """Read one page of subscribers; ServerError for what must never pass for "no subscriber found"."""
    data = _object(answer.json)
    rows = data.get("subscribers")
    if not isinstance(rows, list) or not all(map(_is_record, rows)):
        raise ServerError(
            "The answer to a subscriber lookup holds no list of subscribers, so who subscribes is unknown. "
            "Nothing is concluded from it; run again later.",
            status_code=answer.status_code,
        )
    pages = _object(data.get("page_info")).get("total_pages")
    return Page([parse_subscriber(row) for row in rows], pages if type(pages) is int else None)


def parse_record(answer: Answer) -> Subscriber | None:
    """Read the answer to get_subscriber() or to a write; None when it is not a record."""
    return parse_subscriber(answer.json) if _is_record(answer.json) else None


def parse_written(subscriber_id: str, answer: Answer) -> Subscriber | None:
    """Read the answer to a write of that subscriber; None when it does not show the properties."""
    data = _object(answer.json)
    is_shown = isinstance(data.get("properties"), dict)
    return parse_subscriber({**data, "id": subscriber_id}) if is_shown else None


def parse_subscriber(row: Mapping[str, Any]) -> Subscriber:
    """Read one subscriber record, tolerant of absent fields."""
    can_send = _object(_object(row.get("subscriptions")).get("promotional")).get("can_send")
    return Subscriber(
        subscriber_id=str(row["id"]),
        phone=str(row.get("phone_number") or ""),
        email=str(row.get("email") or ""),
        properties=_object(row.get("properties")),
        can_send=can_send if isinstance(can_send, bool) else None,
        updated_at=str(row.get("updated_at") or ""),
    )


def _is_record(row: Any) -> bool:
    return _object(row).get("id") is not None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def parse_time(text: str) -> datetime | None:
    """Read a time in either of Postscript's two styles, naive ones as UTC; None when it is neither."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def format_time(moment: datetime) -> str:
    """Write a time as filters take it, whole seconds, rounded down."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def is_gone(error: Exception) -> bool:
    """Tell whether a refusal means that there is no such subscriber: 404, or 400 on a read by id.

    Only Postscript itself can know: a gateway's page with the same status code says nothing of a subscriber.
    """
    return isinstance(error, RejectedError) and error.from_postscript and error.status_code in {400, 404}


UNCLEAR = "It may have been carried out all the same."
"""How the outcome of a write ends whose refusal says nothing of that."""


def may_be_applied(error: BaseException) -> bool:
    """Tell whether a request that was answered with this error may have been carried out all the same.

    A refusal by Postscript itself, as JSON, says that it was not. A gateway's page says nothing of that.
    """
    if isinstance(error, LostAnswerError):
        return True
    return isinstance(error, PostscriptError) and error.status_code is not None and not error.from_postscript


def read_audiences(properties: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the audience list among a subscriber's properties; None when it is not a list of texts.

    Missing, null and ``[]`` are the same: no audiences.
    """
    listed = properties.get(AUDIENCES_PROPERTY, [])
    if listed is None:
        return ()
    is_list = isinstance(listed, list) and all(isinstance(key, str) for key in listed)
    return tuple(listed) if is_list else None


def read_refusal(text: str) -> tuple[str, int | None, bool]:
    """Return the sentence and number in an error body, and whether it is a JSON object; never raises."""
    body: Any = None
    with suppress(ValueError, RecursionError):
        body = json.loads(text)
    data = _object(body)
    code, errors, error = (data.get(name) for name in ("error_code", "errors", "error"))
    listed = [_object(each).get("msg") for each in errors] if isinstance(errors, list) else []
    candidates = (
        data.get("error_message"),
        "; ".join(str(message) for message in listed if message),
        _object(error).get("message") or error,
        data.get("message"),
    )
    message = next((c for c in candidates if isinstance(c, str) and c), text.strip())
    return _scrub(message), code if type(code) is int else None, data is body  # true is an int too


def _scrub(text: str) -> str:
    """Shorten a server's sentence to one line of words, and hide any email or phone in it."""
    text = text.strip()[:2000]
    if text.startswith("<"):  # a gateway's page
        text = re.sub(r"<(script|style)\b.*?</\1|<[^>]*>?", " ", text, flags=re.DOTALL | re.IGNORECASE)
    text = " ".join(text.split())
    text = re.sub(r"[^\s\"'<>]+(?:@|%40)[^\s\"'<>]+", "•••@•••", text)
    return re.sub(r"\+?[0-9][0-9 ().-]{5,}[0-9]", "•••", text)[:200]
