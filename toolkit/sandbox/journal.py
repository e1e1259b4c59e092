"""What the sandbox was asked, in order: the evidence that tests assert on."""

from __future__ import annotations

from typing import Any

from toolkit.sandbox.records import copied


class Journal:
    """A list of request records, oldest first.

    A record is written when the request is admitted or refused; ``status`` is None until it is answered.
    """

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []

    def open(
        self,
        *,
        at: float,
        key_fingerprint: str | None,
        method: str,
        path: str,
        query: list[list[str]],
        body: Any,
        limiter: int | None,
    ) -> dict[str, Any]:
        """Write a record and return it, to be closed with the answer."""
        record = {
            "at": at,
            "key_fingerprint": key_fingerprint,
            "method": method,
            "path": path,
            "query": query,
            "body": body,
            "status": None,
            "delay_ms": None,
            "limiter": limiter,
            "violation": False,
        }
        self._records.append(record)
        return record

    @staticmethod
    def close(record: dict[str, Any], *, status: int, delay_ms: float, violation: bool) -> None:
        """Add what became of the request."""
        record.update(status=status, delay_ms=delay_ms, violation=violation)

    def records(self) -> list[dict[str, Any]]:
        """Copy all records."""
        return [copied(record) for record in self._records]

    def clear(self) -> None:
        """Forget everything."""
        self._records = []
