"""How the contract suite asks a shop; none of its messages names a person."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import requests

from toolkit.sandbox import PROFILES, Knobs

SANDBOXES = {
    **PROFILES,
    "other-answers": Knobs(
        page_size=40,
        writes="replace",
        in_encoding="ignored",
        opted_out="hidden",
        null_value="delete",
        ten_digit_phones="assume_us",
        bumps_updated_at=False,
    ),
    "digits-only": replace(PROFILES["documented"], phone_form="digits_required", read_lag_ms=60_000),
}
"""The profiles, and answers that no profile gives: the suite must find these out as well."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status code and JSON of an answer; None where there is none."""

    status: int
    content: Any


class AskedShop:
    """A shop that is asked by HTTP, one request at a time."""

    def __init__(self, base_url: str, key: str, *, knobs: Knobs | None = None, pause_seconds: float = 0.0):
        self.knobs = knobs
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._pause_seconds = pause_seconds

    def ask(self, path, query=(), *, method="GET", key=None, body=None) -> Answer:
        """Send one request; redirects are not followed, for the key must not travel."""
        time.sleep(self._pause_seconds)
        try:
            response = requests.request(
                method,
                f"{self._base_url}/api/v2{path}",
                params=list(query),
                headers={"Authorization": f"Bearer {key or self._key}", "Accept": "application/json"},
                json=body,
                timeout=30,
                allow_redirects=False,
            )
        except requests.RequestException as error:  # its text may hold a phone
            raise AssertionError(f"the shop does not answer: {type(error).__name__}") from None
        try:
            content = response.json()
        except ValueError:
            content = None
        return Answer(status=response.status_code, content=content)

    def find(self, *query) -> list[dict[str, Any]]:
        """Return the rows of one page of the list."""
        answer = self.ask("/subscribers", query)
        hold(answer.status == 200, f"the list answers {answer.status}")
        return answer.content["subscribers"]

    @cached_property
    def first_page(self) -> dict[str, Any]:
        answer = self.ask("/subscribers", [("sort", "created_at__asc"), ("page", "1")])
        hold(answer.status == 200, f"page 1 of the list answers {answer.status}")
        return answer.content

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.first_page["subscribers"]

    @property
    def pages(self) -> int:
        return self.first_page["page_info"]["total_pages"]

    def read(self, person) -> dict[str, Any]:
        """Return the person as the shop shows them now."""
        answer = self.ask(f"/subscribers/{person}")
        hold(answer.status == 200, f"reading the test person answers {answer.status}")
        return answer.content

    def write(self, person, properties) -> Answer:
        """Write properties to the test person."""
        return self.ask(f"/subscribers/{person}", method="PATCH", body={"properties": properties})


def hold(condition: bool, sentence: str) -> None:
    """Fail with the sentence alone: an assert would print what real people's rows hold."""
    if not condition:
        raise AssertionError(sentence)


def digits(phone: str) -> str:
    return "".join(c for c in phone if c in "0123456789")
