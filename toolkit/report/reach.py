"""Whom a sync reaches: how many members subscribe and can be texted, and why the others drop out."""

from __future__ import annotations

import pandas as pd

from .words import in_words

STEPS = {
    "Members": (),
    "With a phone or email": ("NO_CONTACT",),
    "That can be used": ("CONTACT_INVALID",),
    "Looked up": ("NOT_LOOKED_UP",),
    "One subscriber": ("SUBSCRIBER_NOT_FOUND", "AMBIGUOUS_MATCH"),
}
"""Step → the reasons for which members do not come so far."""
LAST_STEP = "Can be texted"


def reach_table(changes: pd.DataFrame) -> pd.DataFrame:
    """Lay out how many of each audience a sync reaches, one row an audience, the largest first.

    Parameters
    ----------
    changes
        `Outlook.changes`, or `Plan.changes`. Audiences that were not chosen are left out: their members
        were not looked up.

    Returns
    -------
    DataFrame
        Columns: ``audience_key``, ``members``, ``subscribers`` (members who are one), ``match_rate`` (0 to 1,
        of the members), ``can_be_texted`` (subscribers), ``reach`` (0 to 1, those of the members), and what
        the next sync would do: ``would_add``, ``would_remove``. Members who were never looked up are left out
        of both shares. Where that is everybody who could be, all but ``members`` is null: not known.
    """
    rows = changes[changes["audience_key"].notna() & (changes["reason_code"] != "NOT_CHOSEN")]
    member = rows["member"].astype("bool")
    counted = pd.DataFrame(
        {
            "audience_key": rows["audience_key"],
            "members": member,
            "not_asked": member & (rows["reason_code"] == "NOT_LOOKED_UP"),
            "asked": member & ~rows["reason_code"].isin(["NOT_LOOKED_UP", "NO_CONTACT", "CONTACT_INVALID"]),
            "subscribers": member & rows["subscriber_id"].notna(),
            "can_be_texted": member & rows["can_send"].fillna(False).astype("bool"),
            "would_add": rows["operation"] == "add",
            "would_remove": rows["operation"] == "remove",
        }
    )
    table = counted.groupby("audience_key", as_index=False).sum()
    is_known = (table["asked"] > 0) | (table["not_asked"] == 0)
    for name in ("subscribers", "can_be_texted", "would_add", "would_remove"):
        table[name] = table[name].astype("Int64").where(is_known)
    asked = (table["members"] - table["not_asked"]).where(is_known)
    asked = asked.where(asked > 0)
    table["match_rate"] = (table["subscribers"].astype("Float64") / asked).round(4).astype("float64")
    table["reach"] = (table["can_be_texted"].astype("Float64") / asked).round(4).astype("float64")
    shown = ["audience_key", "members", "subscribers", "match_rate", "can_be_texted", "reach"]
    table = table[[*shown, "would_add", "would_remove"]]
    return table.sort_values(["members", "audience_key"], ascending=[False, True], ignore_index=True)


def drop_out_table(changes: pd.DataFrame) -> pd.DataFrame:
    """Lay out how far the members come, one row a step; it ends where nothing is known any more.

    Parameters
    ----------
    changes
        `Outlook.changes`; counted are persons × audiences.

    Returns
    -------
    DataFrame
        Columns: ``step``, ``members``, ``share`` (0 to 1, of all), ``lost`` (since the step before), ``why``
        (text).
    """
    is_member = changes["member"].fillna(False).astype("bool")
    members = changes[is_member & (changes["reason_code"] != "NOT_CHOSEN")]
    reasons = members["reason_code"].value_counts()
    left, rows = len(members), []
    for step, codes in STEPS.items():
        lost = {code.lower(): int(reasons[code]) for code in codes if code in reasons}
        left -= sum(lost.values())
        rows.append((step, left, lost))
        if not left and "not_looked_up" in lost:
            break  # beyond it nothing is known
    else:
        sends = members.loc[members["subscriber_id"].notna(), "can_send"]
        out = {"opted_out": int((~sends.dropna().astype("bool")).sum()), "not_told": int(sends.isna().sum())}
        rows.append(
            (LAST_STEP, left - sum(out.values()), {why: count for why, count in out.items() if count})
        )
    return pd.DataFrame(
        [
            (step, count, count / max(len(members), 1), sum(lost.values()), _said(lost))
            for step, count, lost in rows
        ],
        columns=["step", "members", "share", "lost", "why"],
    )


def _said(lost: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {in_words(why)}" for why, count in lost.items())
