"""What the sandbox was asked, in order: the evidence that tests assert on."""

from __future__ import annotations

from typing import Any

from .records import copied


class Journal:
    """A list of request records, oldest first.

    A record is written when the request is admitted or refused. ``delay_ms`` is None until the request has
    acted; ``status`` is None until it is answered, and for good when a fault cuts the connection instead.
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
            "fault": None,
            "applied": False,
        }
        self._records.append(record)
        return record

    @staticmethod
    def close(
        record: dict[str, Any],
        *,
        delay_ms: float,
        violation: bool,
        fault: str | None,
        applied: bool,
    ) -> None:
        """Add what became of the request."""
        record.update(delay_ms=delay_ms, violation=violation, fault=fault, applied=applied)

    @staticmethod
    def answered(record: dict[str, Any], status: int | None) -> None:
        """Add the status of the answer, when it goes out."""
        record["status"] = status

    def records(self, since: int = 0) -> list[dict[str, Any]]:
        """Copy all records but the first *since*."""
        return [copied(record) for record in self._records[since:]]

    def clear(self) -> None:
        """Forget everything."""
        self._records = []
