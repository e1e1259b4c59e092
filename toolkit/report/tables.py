"""Tables for people: reasons, audiences and how many members can be texted, verdicts, a plan and its cost."""

from __future__ import annotations

from html import escape

import pandas as pd
from pandas.io.formats.style import Styler

from toolkit.contacts.checks import CONTACT_VERDICTS
from toolkit.contacts.masks import mask_table, mask_text
from toolkit.statuses import ChangeStatus, get_meaning, get_reason, in_words, list_counts
from toolkit.sync.cost import CostEstimate
from toolkit.sync.plan import Plan

_CAPTION = "text-align: left; padding: 0.4em 0; font-weight: bold"
_CONTACTS = ("with_phone", "with_email", "with_both", "without_contact")
_SHARES = {"share", "match_rate", "reach", *_CONTACTS}
_STEPS = {
    "Members": (),
    "With a phone or email": ("NO_CONTACT",),
    "That can be used": ("CONTACT_INVALID",),
    "Looked up": ("NOT_LOOKED_UP",),
    "One subscriber": ("SUBSCRIBER_NOT_FOUND", "AMBIGUOUS_MATCH"),
}
"""Step → the reasons for which members drop out at it."""


def reason_table(frame: pd.DataFrame, *, kind: str = "sync") -> pd.DataFrame:
    """Count statuses by reason, the most frequent first.

    *frame* has ``status`` and ``reason_code``; ``count`` too where its rows are totals already. *kind* is
    what the run carried out, `RunRecord.kind`: a repair has reasons of its own. Columns: ``status``,
    ``reason_code``, ``count``, ``share`` (0 to 1), ``meaning``, ``what_to_do``.

    >>> frame = pd.DataFrame({"status": ["waiting"], "reason_code": ["SUBSCRIBER_NOT_FOUND"]})
    >>> reason_table(frame)[["status", "count", "share"]].values.tolist()
    [['waiting', 1, 1.0]]
    """
    counted = (frame if "count" in frame else frame.assign(count=1)).fillna({"reason_code": ""})
    table = counted.groupby(["status", "reason_code"], as_index=False)["count"].sum()
    table = _largest_first(table, "count", "status", "reason_code")
    codes = table["reason_code"]
    return table.assign(
        share=(table["count"] / max(int(table["count"].sum()), 1)).round(4),
        meaning=pd.Series([get_meaning(code, kind) if code else "" for code in codes], dtype="str"),
        what_to_do=pd.Series([get_reason(code).fix if code else "" for code in codes], dtype="str"),
    )


def audience_table(audiences: pd.DataFrame) -> pd.DataFrame:
    """Lay out `Preview.audiences`, one row each, the largest first.

    Columns: ``audience_key``, ``audience_id``, ``members`` (in now), ``left`` (stated out), ``flapping``, and
    of the members the share (0 to 1) ``with_phone``, ``with_email``, ``with_both``, ``without_contact`` that
    can be used; null where there is no member.
    """
    members = audiences["members"]
    table = audiences[["audience_key", "audience_id", "members"]].assign(
        left=audiences["stated"] - members,
        flapping=audiences["flapping"],
        **{name: _share(audiences[name], members) for name in _CONTACTS},
    )
    return _largest_first(table, "members", "audience_key")


def overlap_table(overlap: pd.DataFrame) -> pd.DataFrame:
    """Lay out `Preview.overlap`, one row a pair of audiences that share a member, the closest pair first.

    Columns: ``audience_key``, ``other_audience``, ``in_both`` (people), ``share`` (0 to 1, of the smaller).
    """
    keys = [*overlap.index]
    rows = [
        (one, other, int(overlap.loc[one, other]), min(overlap.loc[one, one], overlap.loc[other, other]))
        for place, one in enumerate(keys)
        for other in keys[place + 1 :]
        if overlap.loc[one, other]
    ]
    table = pd.DataFrame(rows, columns=["audience_key", "other_audience", "in_both", "smaller"])
    table["share"] = _share(table["in_both"], table["smaller"])
    table = table.sort_values(["share", "in_both"], ascending=False, kind="stable", ignore_index=True)
    return table.drop(columns="smaller")


def member_table(sample: pd.DataFrame) -> pd.DataFrame:
    """Return `Preview.sample` with the contacts masked.

    Columns: ``audience_key``, ``person``, ``since`` (text, UTC), ``phone``, ``email``.
    """
    return mask_table(sample).assign(since=sample["since"].dt.strftime("%Y-%m-%d %H:%M UTC"))


def reach_table(changes: pd.DataFrame) -> pd.DataFrame:
    """Lay out how many members of each audience can be texted, one row an audience, the largest first.

    *changes* are those of a forecast or a plan. Audiences that were not chosen are left out: their members
    were not looked up. Columns: ``audience_key``, ``members``, ``subscribers`` (members who are one),
    ``match_rate`` (0 to 1, of the members), ``can_be_texted`` (subscribers), ``reach`` (0 to 1, those of the
    members), and what the next sync would do: ``would_add``, ``would_remove``. Members who were never looked
    up are left out of both shares. Where that is every member who could be, all but ``members`` is null.
    """
    rows = changes[changes["audience_key"].notna() & (changes["reason_code"] != "NOT_CHOSEN")]
    member, reason = rows["member"].astype("bool"), rows["reason_code"]
    counted = pd.DataFrame(
        {
            "audience_key": rows["audience_key"],
            "members": member,
            "not_asked": member & (reason == "NOT_LOOKED_UP"),
            "asked": member & ~reason.isin(["NOT_LOOKED_UP", "NO_CONTACT", "CONTACT_INVALID"]),
            "subscribers": member & rows["subscriber_id"].notna(),
            "can_be_texted": member & rows["can_send"].fillna(False).astype("bool"),
            "would_add": rows["operation"] == "add",
            "would_remove": rows["operation"] == "remove",
        }
    )
    table = counted.groupby("audience_key", as_index=False).sum()
    is_known = (table["asked"] > 0) | (table["not_asked"] == 0)
    known = ["subscribers", "can_be_texted", "would_add", "would_remove"]
    table[known] = table[known].astype("Int64").where(is_known)
    asked = table["members"] - table["not_asked"]
    table["match_rate"] = _share(table["subscribers"], asked)
    table["reach"] = _share(table["can_be_texted"], asked)
    shown = ["audience_key", "members", "subscribers", "match_rate", "can_be_texted", "reach"]
    return _largest_first(table[[*shown, "would_add", "would_remove"]], "members", "audience_key")


def _largest_first(table: pd.DataFrame, count: str, *names: str) -> pd.DataFrame:
    ascending = [False, *(True for _ in names)]
    return table.sort_values([count, *names], ascending=ascending, ignore_index=True)


def _share(part: pd.Series, whole: pd.Series) -> pd.Series:
    """Return part of whole, 0 to 1; null where there is no whole or the part is not known."""
    return (part.astype("Float64") / whole.where(whole > 0)).astype("float64").round(4)


def funnel_table(changes: pd.DataFrame) -> pd.DataFrame:
    """Lay out how many members are left at each step from "Members" to "Can be texted", and why.

    Counted are memberships of `Forecast.changes`. It ends where nothing is known any more. Columns: ``step``,
    ``members``, ``share`` (0 to 1, of all), ``lost`` (since the step before), ``why`` (text).
    """
    is_member = changes["member"].fillna(False).astype("bool")
    members = changes[is_member & (changes["reason_code"] != "NOT_CHOSEN")]
    reasons = members["reason_code"].value_counts()
    steps = {step: {c.lower(): int(reasons.get(c, 0)) for c in codes} for step, codes in _STEPS.items()}
    sends = members.loc[members["subscriber_id"].notna(), "can_send"]
    opted_out, not_known = (sends == False).sum(), sends.isna().sum()  # noqa: E712 - null is neither
    steps["Can be texted"] = {"opted_out": int(opted_out), "not_known": int(not_known)}
    left, rows = len(members), []
    for step, lost in steps.items():
        left -= sum(lost.values())
        why = list_counts({reason: count for reason, count in lost.items() if count})
        rows.append((step, left, left / max(len(members), 1), sum(lost.values()), why))
        if not left and lost.get("not_looked_up"):
            break  # beyond it nothing is known
    return pd.DataFrame(rows, columns=["step", "members", "share", "lost", "why"])


def verdict_table(contacts: pd.DataFrame) -> pd.DataFrame:
    """Count the verdicts on checked *contacts*, first of phones, then of emails, the most frequent first.

    Columns: ``contact`` (phone, email), ``code`` (a key of CONTACT_VERDICTS), ``people``, ``share`` (0 to 1),
    ``meaning``, ``what_to_do``.
    """
    rows = [
        (contact, code, int(people), round(people / len(contacts), 4), *CONTACT_VERDICTS[str(code)])
        for contact in ("phone", "email")
        for code, people in contacts[f"{contact}_code"].value_counts().items()
    ]
    return pd.DataFrame(rows, columns=["contact", "code", "people", "share", "meaning", "what_to_do"])


def plan_table(plan: Plan, cost: CostEstimate) -> pd.DataFrame:
    """Lay out a plan and what estimate_cost() returns for it, beside Segment's action on the same events.

    Columns: ``what``, ``value`` (text). Segment's action is left out where its calls are not known.
    """
    traits = int(plan.changes["trait_key"].notna().sum())
    calls, official, removals = cost.calls, cost.official, plan.removals
    rows = [
        ("Memberships", f"{len(plan.changes) - traits:,}"),
        ("Expected adds", f"{plan.adds:,}"),
        ("Expected removes", f"{plan.removes:,}"),
        *([("Traits", f"{traits:,}")] if traits else []),
        *([("Expected trait updates", f"{plan.updates:,}")] if traits else []),
        ("Expected custom events", f"{calls['custom_events'] - cost.left_over:,}"),
        *([("Custom events left over from earlier runs", f"{cost.left_over:,}")] if cost.left_over else []),
        ("Subscribers to write", f"{len(plan.writes):,}"),
        ("Calls made to read", f"{calls['reads']:,}"),
        ("Calls still to make", f"{sum(calls.values()) - calls['reads']:,}"),
        ("Time for all calls at this pace", f"{cost.minutes:.1f} minutes"),
        ("Share of memberships removed", f"{plan.removal_share:.1%} (limit {plan.max_removal_share:.0%})"),
    ]
    if removals.audience_key:
        highest = f"{removals.audience_share:.1%} of {mask_text(removals.audience_key)} (the same limit)"
        rows.append(("Highest share of one audience", highest))
    if official is not None and cost.official_minutes is not None:
        rows += [
            ("Segment's action, same events: calls", f"{sum(official.values()):,}"),
            ("Segment's action, same events: custom events", f"{official['custom_events']:,}"),
            ("Segment's action, same events: time", f"{cost.official_minutes:.1f} minutes"),
        ]
    return pd.DataFrame(rows, columns=["what", "value"])


def change_table(totals: pd.DataFrame, *, key: str = "audience_key") -> pd.DataFrame:
    """Lay out the change totals, one row an audience or, by *key*, a trait: a column a status, and ``total``.

    What was not chosen is left out: nothing is known of it.
    """
    changes = totals[(totals["kind"] == "change") & (totals[key] != "")]
    changes = changes[changes["reason_code"] != "NOT_CHOSEN"]
    table = changes.pivot_table(index=key, columns="status", values="count", aggfunc="sum", fill_value=0)
    present = [status.value for status in ChangeStatus if status.value in table.columns]
    table = table.reindex(columns=present).astype("int64")
    return table.assign(total=table.sum(axis=1)).rename_axis(columns=None).reset_index()


def styled_table(table: pd.DataFrame, *, caption: str) -> Styler:
    """Return a table as Jupyter shows it: whole sentences, thousands apart, shares in per cent, times in UTC.

    Of a table without rows only the caption is shown.

    Contacts in any of its texts are masked, its texts and the names of its columns are escaped.
    """
    table = mask_table(table)
    for name in table.select_dtypes(["datetime", "datetimetz"]):
        table[name] = table[name].dt.strftime("%Y-%m-%d %H:%M UTC")
    shares = [name for name in table if name in _SHARES]
    counts = [name for name in table.select_dtypes("number") if name not in shares]
    texts = [name for name in table if name not in {*shares, *counts}]
    top = {"vertical-align": "top", "white-space": "normal"}
    left = {in_words(name): [{"selector": "", "props": "text-align: left"}] for name in texts}
    styled = table.rename(columns=in_words).style.hide(axis="index")
    if not len(table):
        styled = styled.hide(axis="columns")  # the caption says it
    return (
        styled.format(escape="html", na_rep="–")
        .format_index(escape="html", axis="columns")
        .format("{:,.0f}", subset=[*map(in_words, counts)], na_rep="–")
        .format("{:.1%}", subset=[*map(in_words, shares)], na_rep="–")
        .set_properties(**top)
        .set_table_styles([{"selector": "caption", "props": _CAPTION}])
        .set_table_styles(left, overwrite=False)
        .set_caption(escape(mask_text(caption)))
    )
