"""The row log: each change with its reason, its subscriber, and the calls that were made for it."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pandas as pd

from toolkit.audiences.memberships import is_ahead
from toolkit.contacts.masks import mask_table, mask_text
from toolkit.postscript import api
from toolkit.statuses import get_meaning
from toolkit.sync.plan.writing import properties_of
from toolkit.sync.runs import LOOK_AT, Audit

from .display import cut, whole_text

ROW_HEADINGS = {
    "person": "Person",
    "about": "Audience or trait",
    "operation": "Operation",
    "status": "Status",
    "reason": "Reason",
    "status_message": "Message",
    "subscriber_id": "Subscriber",
    "match_method": "Found by",
    "phone_masked": "Phone",
    "email_masked": "Email",
    "http_status": "HTTP status",
    "before": "Before",
    "after": "After",
    "event": "Custom event",
    "attempts": "Tries",
    "started_at": "Started (UTC)",
    "finished_at": "Finished (UTC)",
}
"""Column of a row log → its heading. All cells are texts, empty where there is nothing to show."""
LONGEST = 200
"""Characters of a cell: a name of a megabyte must not make the report one."""
_ABOUT = ["person", "audience_key", "trait_key"]


def row_log(audit: Audit, *, limit: int) -> pd.DataFrame:
    """Return the first *limit* changes, those to look at first, as texts with the columns of ROW_HEADINGS."""
    is_other = ~audit.changes["status"].isin([*LOOK_AT])
    rows = audit.changes.loc[is_other.sort_values(kind="stable").index].head(limit).reset_index(drop=True)
    written = rows[["subscriber_id"]].merge(_first_writes(audit.calls), how="left", on="subscriber_id")
    written = written.where(rows["operation"].notna() & written["route"].notna(), None)
    is_kept = written["outcome"] == "ok"
    text = pd.DataFrame(
        {
            "about": [about(row) for row in rows[["audience_key", "trait_key", "trait_value"]].itertuples()],
            "status": rows["status"].str.replace("_", " "),
            "reason": _reasons(audit, rows),
            "http_status": _whole(written["status_code"]),
            "before": _shown_values(written["before"], rows["trait_key"]),
            "after": _shown_values(written["after"].where(is_kept, None), rows["trait_key"]),
            "event": _events(audit, rows),
            "attempts": _whole(written["tries"]),
            **{
                name: pd.to_datetime(written[name]).dt.strftime("%Y-%m-%d %H:%M:%S")
                for name in ("started_at", "finished_at")
            },
        }
    )
    text = mask_table(rows.drop(columns=[*text], errors="ignore").join(text)[[*ROW_HEADINGS]])
    return text.astype("object").where(text.notna(), "").map(lambda cell: cut(str(cell), LONGEST))


def _reasons(audit: Audit, rows: pd.DataFrame) -> pd.Series:
    codes = rows["reason_code"].dropna().unique()
    reasons = rows["reason_code"].map({c: f"{c}: {get_meaning(c, audit.record.kind)}" for c in codes})
    ahead = is_ahead(rows["timestamp"], audit.record.started_at.replace(tzinfo=UTC))
    note = " Decided by an event dated in the future: " + rows["timestamp"].dt.strftime("%Y-%m-%d") + "."
    return reasons.mask(ahead, reasons.fillna("") + note)


def newly_to_look_at(audit: Audit) -> pd.DataFrame:
    """Return the changes to look at that were not so in the run before."""
    now = audit.changes[audit.changes["status"].isin([*LOOK_AT])]
    if audit.previous is None:
        return now
    known = pd.MultiIndex.from_frame(audit.previous.to_look_at[_ABOUT].fillna(""))
    return now[~pd.MultiIndex.from_frame(now[_ABOUT].fillna("")).isin(known)]


def _first_writes(calls: pd.DataFrame) -> pd.DataFrame:
    """Return the first write to each subscriber: a later one only puts back what was lost by it."""
    writes = calls[(calls["route"] == api.WRITE_ROUTE) & calls["subscriber_id"].notna()]
    return writes.drop_duplicates("subscriber_id").astype("object")


def rewritten_lists(audit: Audit, *, limit: int) -> list[dict[str, Any]]:
    """Return the first lists that the run wrote: subscriber_id, person (masked), ``before`` and ``after``.

    From the journal's before-images. ``person`` is empty for a run that was killed: only its calls are known.
    """
    writes = _first_writes(audit.calls[audit.calls["outcome"] == "ok"]).head(limit)
    known = audit.changes[audit.changes["subscriber_id"].isin(writes["subscriber_id"])]
    people = dict(zip(known["subscriber_id"], known["person"], strict=True))
    return [
        {
            "subscriber_id": clipped(row.subscriber_id),
            "person": clipped(people.get(row.subscriber_id, "")),
            "before": [*map(clipped, audience_list(row.before) or ())],
            "after": [*map(clipped, after)],
        }
        for row in writes.itertuples()
        if (after := audience_list(row.after)) is not None  # else only traits were written
    ]


def about(row: Any) -> str:
    """Return the audience, or the trait and its value, that a row is on."""
    if isinstance(row.audience_key, str):
        return row.audience_key
    if isinstance(row.trait_key, str):
        value = getattr(row, "trait_value", None)
        return f"trait {row.trait_key}" + (f" = {value}" if isinstance(value, str) else "")
    return "the whole list"


def audience_list(properties: str | None) -> list[str] | None:
    """Return the audiences in a before-image; None where there is no list."""
    held = properties_of(properties).get(api.AUDIENCES_PROPERTY) if properties else None
    return [whole_text(key) for key in dict.fromkeys(map(str, held))] if isinstance(held, list) else None


def sent_or_not(outcome: object) -> str:
    """Return what became of a custom event: sent, or what went wrong."""
    if not isinstance(outcome, str):
        return "no answer recorded"
    error = outcome.partition(":")[0]
    return {"ok": "sent", "LostAnswerError": "answer lost", "RejectedError": "refused"}.get(error, error)


def clipped(value: object) -> str:
    """Return a cell as text of bounded length, contacts masked."""
    return cut(mask_text(str(value)), LONGEST)


def _shown_values(properties: pd.Series, traits: pd.Series) -> list[str | None]:
    """Return the list, or the trait's value, that each row's write found or left."""
    # Many lists are alike: each text is read once.
    lists = {text: _list(text) for text in properties[traits.isna()].dropna().unique()}
    return [
        lists.get(text) if pd.isna(trait) else _value(text, trait)
        for text, trait in zip(properties, traits, strict=True)
    ]


def _list(properties: str) -> str:
    keys = audience_list(properties)
    return "no list" if keys is None else ", ".join(keys) or "empty"


def _value(properties: str | None, trait: str) -> str | None:
    value = properties_of(properties).get(trait) if properties else None
    return None if not properties else "no value" if value is None else whole_text(value)


def _events(audit: Audit, rows: pd.DataFrame) -> pd.Series:
    """Return the custom event of each change that has one, and what became of it."""
    name = rows["member"].map({True: api.ENTERED, False: api.EXITED})
    if audit.record.mode != "live":
        would = rows["operation"].isin(["add", "remove"]) & rows["status"].str.startswith("would")
        would &= rows["reason_code"] != "CONTACT_MOVED"
        fires = audit.record.facts.get("custom_events", "transitions") == "transitions"
        return (name + ": would be posted").where(would & fires)
    posts = audit.calls[audit.calls["route"] == api.EVENT_ROUTE]
    fate = dict(zip(posts["external_id"], map(sent_or_not, posts["outcome"]), strict=True))
    fates = pd.Series([fate.get(key, "not posted") for key in rows["external_id"]], dtype="str")
    return (name + ": " + fates).where(rows["external_id"].notna())


def _whole(numbers: pd.Series) -> pd.Series:
    """Return whole numbers; beside a null, pandas makes floats of them."""
    return pd.to_numeric(numbers).astype("Int64")
