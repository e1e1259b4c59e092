"""Tables for people: statuses by reason, audiences, verdicts, a plan and its price."""

from __future__ import annotations

from html import escape

import pandas as pd
from pandas.io.formats.style import Styler

from toolkit.contacts import CONTACT_VERDICTS, mask_table, mask_text
from toolkit.statuses import ChangeStatus, get_meaning, get_reason
from toolkit.sync.cost import Price
from toolkit.sync.plan import Plan

from .words import in_words

_CAPTION = "text-align: left; padding: 0.4em 0; font-weight: bold"
_SHARES = {"share", "match_rate", "reach", "with_phone", "with_email", "with_both", "without_contact"}


def reason_table(frame: pd.DataFrame, *, kind: str = "sync") -> pd.DataFrame:
    """Count statuses by reason, the most frequent first.

    Parameters
    ----------
    frame
        Columns ``status`` and ``reason_code``; ``count`` too where its rows are totals already.
    kind
        What the run carried out, `RunRecord.kind`: a repair has reasons of its own.

    Returns
    -------
    DataFrame
        Columns: ``status``, ``reason_code``, ``count``, ``share`` (0 to 1), ``meaning``, ``what_to_do``.

    Examples
    --------
    >>> frame = pd.DataFrame({"status": ["waiting"], "reason_code": ["SUBSCRIBER_NOT_FOUND"]})
    >>> reason_table(frame)["meaning"].tolist()
    ['Nobody with this phone or email subscribes to the shop yet.']
    """
    counted = frame.assign(count=1) if "count" not in frame else frame
    table = (
        counted.fillna({"reason_code": ""})
        .groupby(["status", "reason_code"], as_index=False)["count"]
        .sum()
        .sort_values(["count", "status", "reason_code"], ascending=[False, True, True], ignore_index=True)
    )
    reasons = [get_reason(code) if code else None for code in table["reason_code"]]
    return table.assign(
        share=(table["count"] / max(int(table["count"].sum()), 1)).round(4),
        meaning=[get_meaning(r.code, kind) if r else "" for r in reasons],
        what_to_do=[r.fix if r else "" for r in reasons],
    ).astype({"meaning": "str", "what_to_do": "str"})


def audience_table(audiences: pd.DataFrame) -> pd.DataFrame:
    """Lay the audiences of a preview out, one row each, the largest first.

    Parameters
    ----------
    audiences
        `Preview.audiences`.

    Returns
    -------
    DataFrame
        Columns: ``audience_key``, ``audience_id``, ``members`` (in now), ``left`` (stated out),
        ``flapping``, and of the members the share (0 to 1) ``with_phone``, ``with_email``, ``with_both``,
        ``without_contact`` that can be used; null where there is no member.
    """
    members = audiences["members"]
    shares = {
        name: (audiences[name] / members.where(members > 0)).round(4)
        for name in ("with_phone", "with_email", "with_both", "without_contact")
    }
    table = audiences[["audience_key", "audience_id", "members"]].assign(
        left=audiences["stated"] - members, flapping=audiences["flapping"], **shares
    )
    return table.sort_values(["members", "audience_key"], ascending=[False, True], ignore_index=True)


def verdict_table(contacts: pd.DataFrame) -> pd.DataFrame:
    """Count the verdicts on phones and emails, for each the most frequent first.

    Parameters
    ----------
    contacts
        What check_contacts() returns.

    Returns
    -------
    DataFrame
        Columns: ``contact`` (phone, email), ``code`` (a key of CONTACT_VERDICTS), ``people``, ``share`` (0 to
        1), ``meaning``, ``what_to_do``.
    """
    rows = []
    for contact in ("phone", "email"):
        for code, people in contacts[f"{contact}_code"].value_counts().items():
            meaning, fix = CONTACT_VERDICTS[str(code)]
            rows.append((contact, code, int(people), round(people / len(contacts), 4), meaning, fix))
    return pd.DataFrame(rows, columns=["contact", "code", "people", "share", "meaning", "what_to_do"])


def plan_table(plan: Plan, price: Price) -> pd.DataFrame:
    """Lay a plan and its price out, beside what Segment's action would do with the same events.

    Parameters
    ----------
    plan
        What plan() returns.
    price
        What price() returns for it.

    Returns
    -------
    DataFrame
        Columns: ``what``, ``value`` (text). Segment's action is left out where its calls cannot be told.
    """
    traits = int(plan.changes["trait_key"].notna().sum())
    calls, official = price.calls, price.official
    rows = [
        ("Total records (person × audience)", f"{len(plan.changes) - traits:,}"),
        ("Expected adds", f"{plan.adds:,}"),
        ("Expected removes", f"{plan.removes:,}"),
        *([("Total traits (person × trait)", f"{traits:,}")] if traits else []),
        *([("Expected trait updates", f"{plan.updates:,}")] if traits else []),
        ("Expected custom events", f"{calls['custom_events'] - price.left_over:,}"),
        *([("Custom events left over from earlier runs", f"{price.left_over:,}")] if price.left_over else []),
        ("Subscribers to write", f"{len(plan.writes):,}"),
        ("Calls made to read", f"{calls['reads']:,}"),
        ("Calls still to make", f"{sum(calls.values()) - calls['reads']:,}"),
        ("Time for all calls at this pace", f"{price.minutes:.1f} minutes"),
        ("Share of memberships removed", f"{plan.removal_share:.1%} (limit {plan.max_removal_share:.0%})"),
        *([("Highest share of one audience", _highest_share(plan))] if plan.removals.audience_key else []),
    ]
    if official is not None and price.official_minutes is not None:
        rows += [
            ("Segment's action, same events: calls", f"{sum(official.values()):,}"),
            ("Segment's action, same events: custom events", f"{official['custom_events']:,}"),
            ("Segment's action, same events: time", f"{price.official_minutes:.1f} minutes"),
        ]
    return pd.DataFrame(rows, columns=["what", "value"])


def _highest_share(plan: Plan) -> str:
    found = plan.removals
    return f"{found.audience_share:.1%} of {mask_text(found.audience_key)} (the same limit)"


def change_table(totals: pd.DataFrame, *, key: str = "audience_key") -> pd.DataFrame:
    """Lay the change totals out, one row an audience, one column a status, and ``total``.

    With *key* ``trait_key``, one row a trait. What was not chosen is left out: nothing is known of it.
    """
    changes = totals[(totals["kind"] == "change") & (totals[key] != "")]
    changes = changes[changes["reason_code"] != "NOT_CHOSEN"]
    table = changes.pivot_table(index=key, columns="status", values="count", aggfunc="sum", fill_value=0)
    present = [status.value for status in ChangeStatus if status.value in table.columns]
    table = table.reindex(columns=present).astype("int64")
    return table.assign(total=table.sum(axis=1)).rename_axis(columns=None).reset_index()


def styled_table(table: pd.DataFrame, *, caption: str) -> Styler:
    """Return a table to look at in a notebook: whole sentences, thousands apart, shares in per cent.

    Parameters
    ----------
    table
        Any of the tables; contacts in it are masked, its texts and the names of its columns are escaped.
    caption
        What it shows, above it.

    Returns
    -------
    Styler
        Shown by Jupyter as HTML.
    """
    table = mask_table(table)
    shares = [name for name in table if name in _SHARES]
    counts = [name for name in table.select_dtypes("number") if name not in shares]
    texts = [name for name in table if name not in {*shares, *counts}]
    top = {"vertical-align": "top", "white-space": "normal"}
    left = {in_words(name): [{"selector": "", "props": "text-align: left"}] for name in texts}
    return (
        table.rename(columns=in_words)
        .style.hide(axis="index")
        .format(escape="html", na_rep="–")
        .format_index(escape="html", axis="columns")
        .format("{:,.0f}", subset=[*map(in_words, counts)], na_rep="–")
        .format("{:.1%}", subset=[*map(in_words, shares)], na_rep="–")
        .set_properties(**top)
        .set_table_styles([{"selector": "caption", "props": _CAPTION}])
        .set_table_styles(left, overwrite=False)
        .set_caption(escape(mask_text(caption)))
    )
