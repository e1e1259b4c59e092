"""A plan as a file: saved, reviewed, and carried out later only as far as nothing has changed since.

The file is a zip: ``plan.json`` with what was decided and a SHA-256 of every other member, Parquet files, and
``changes.csv`` for people, contacts masked. The SHA-256 of ``plan.json`` is the zip's comment.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from toolkit.audiences.memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, TRAIT_COLUMNS, Folded, State
from toolkit.contacts.bulk import check_contacts
from toolkit.contacts.masks import masked
from toolkit.errors import FileFormatError, InputPathError, ParameterError
from toolkit.files import csv_text, make_folder, write_whole
from toolkit.frames import empty_table, json_text, typed, without
from toolkit.postscript import api
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.statuses import ChangeStatus

from .plan import CHANGE_COLUMNS, DESIRED_COLUMNS, Plan, plan_desired
from .plan.columns import have_like
from .plan.matching import match_people
from .plan.writing import WRITE_COLUMNS, properties_of

FORMAT = 1
"""Version of the file's layout."""

_INSTEAD = (
    "Nothing of it is used; save the plan again. Its files are for reading: to send something else, make "
    "another plan."
)
_ABOUT = "plan.json"
_ABOUT_PLAN = ("custom_events", "max_removal_share", "removal_share", "adds", "removes", "updates")
_PLAN_FRAMES = {"changes": CHANGE_COLUMNS, "writes": WRITE_COLUMNS, "subscribers": SUBSCRIBER_COLUMNS}
_STATE_FRAMES = {"memberships": MEMBERSHIP_COLUMNS, "people": PEOPLE_COLUMNS, "traits": TRAIT_COLUMNS}
_FRAMES = {**_PLAN_FRAMES, **_STATE_FRAMES, "events": PAYLOAD_COLUMNS}
_ENDED = ["status", "reason_code"]
_MEMBERSHIP, _TRAIT = ["person", "audience_key"], ["person", "trait_key"]
"""What a row of memberships, and one of traits, is about."""


@dataclass(frozen=True, kw_only=True)
class SavedPlan:
    """A plan that was read from a file."""

    plan: Plan
    folded: Folded | None
    """What the plan comes from, its events without contacts; None when it comes from no events."""
    contacts: pd.DataFrame
    """check_contacts() of its people."""
    shop_id: str
    shop_name: str
    saved_at: datetime
    """UTC."""
    default_region: str
    """The country in which its phones without a country code are read."""

    def check_shop(self, shop: api.Shop) -> None:
        """Raise ParameterError unless the plan was made for this shop."""
        if shop.shop_id != self.shop_id:
            raise ParameterError(
                f"The plan was made for the shop {self.shop_name} ({self.shop_id}); this key belongs to "
                f"{shop.name} ({shop.shop_id}). Use that shop's key, or make a new plan."
            )

    def refresh(
        self, subscribers: pd.DataFrame, *, shop: api.Shop, remembered: State | None = None
    ) -> SavedPlan:
        """Return the plan as far as it still holds, ready for ``sync(saved.plan, saved.folded, …)``.

        Writes whose subscriber's list and traits are those that the plan saw stay. The changes of the others
        are ``pending``, ``PLAN_STALE``; ``unchanged`` where the subscriber holds all that the plan wanted; or
        ``waiting``, ``SUBSCRIBER_GONE``. ParameterError when the plan was made for another shop.

        *subscribers* is what Postscript holds now, from `read_subscribers`; *remembered* what the ledger
        remembers now, `Ledger.load_state`. A newer state than the plan's stands; where it differs, or the
        person is another subscriber by the newer contacts, the plan is stale.
        """
        self.check_shop(shop)
        known, folded, contacts = remembered or State.empty(), self.folded, self.contacts
        if folded is None:
            memberships = self.plan.changes.dropna(subset="audience_key")
            is_stale = self._are_about(known.memberships, memberships, [*_MEMBERSHIP, "member"])
        else:
            before = folded.state
            of_same = State(
                memberships=known.memberships.merge(before.memberships[_MEMBERSHIP]),
                traits=known.traits.merge(before.traits[_TRAIT]),
                people=known.people.merge(before.people[["person"]]),
            )
            state = before.after(of_same)
            is_stale = self._are_about(state.memberships, before.memberships, [*_MEMBERSHIP, "member"])
            is_stale |= self._are_about(state.traits, before.traits, [*_TRAIT, "value"])
            is_stale |= self._are_reached_again(subscribers, state.after(known))
            folded = replace(folded, state=state)
            contacts = check_contacts(state.choose().people, default_region=self.default_region)
        is_stale |= self._are_others(subscribers, contacts)
        checked = recheck(self.plan, subscribers, overruled=is_stale)
        return replace(self, plan=replace(checked, kind="saved_plan"), folded=folded, contacts=contacts)

    def _are_about(self, after: pd.DataFrame, before: pd.DataFrame, columns: list[str]) -> np.ndarray:
        """Return which changes are about rows of *after* that *before* does not have; the last is a value."""
        return have_like(self.plan.changes, without(after[columns], before[columns]), columns[:-1])

    def _are_others(self, subscribers: pd.DataFrame, contacts: pd.DataFrame) -> np.ndarray:
        """Return which changes have a person who, looked up by contact, is another subscriber by now."""
        changes = self.plan.changes
        now = changes[["person"]].merge(match_people(contacts, subscribers), how="left", on="person")
        is_moved = now["subscriber_id"].to_numpy() != changes["subscriber_id"].to_numpy()
        # A person who matches no subscriber any more is gone, which recheck() finds. For a new contact no
        # subscriber was read.
        named = ["person", "phone_e164", "email_clean"]
        same = self.contacts[named].merge(contacts[named])["person"]
        is_gone = (now["reason_code"] == "SUBSCRIBER_NOT_FOUND").to_numpy() & changes["person"].isin(same)
        is_sent = changes["operation"].notna() & changes["match_method"].notna()
        return np.asarray(is_sent & ~is_gone & is_moved)

    def _are_reached_again(self, subscribers: pd.DataFrame, state: State) -> np.ndarray:
        """Return which changes would take an audience from a subscriber that another person is by now."""
        changes = self.plan.changes
        is_moved = (changes["reason_code"] == "CONTACT_MOVED").to_numpy()
        if not is_moved.any():
            return np.zeros(len(changes), np.bool_)
        asked = state.choose(changes.loc[is_moved, "audience_key"].unique())
        contacts = check_contacts(asked.people, default_region=self.default_region)
        memberships = asked.memberships.merge(match_people(contacts, subscribers), on="person")
        return np.asarray(is_moved & have_like(changes, memberships, ["subscriber_id", "audience_key"]))


def recheck(plan: Plan, subscribers: pd.DataFrame, *, overruled: np.ndarray | bool = False) -> Plan:
    """Return the part of a plan that still holds for *subscribers*, SUBSCRIBER_COLUMNS as they are now.

    A write stays where it would be made now as it was planned, from the same list and traits. Else its
    changes are ``pending``, ``PLAN_STALE``; or ``unchanged``, where the subscriber holds all that the plan
    wanted; or ``waiting``, ``SUBSCRIBER_GONE``. *overruled* is one a change, True where something newer says
    otherwise: ``PLAN_STALE``, together with all of its subscriber's write. The removal share is that of what
    is left. ParameterError when *subscribers* were read without the properties of the plan's traits.
    """
    changes = plan.changes.reset_index(drop=True)
    is_stale = pd.Series(overruled, changes.index, "bool")
    sent = changes[changes["operation"].notna()]
    after, read = plan.writes.set_index("subscriber_id")["after"], lru_cache(1)(properties_of)
    # In the changes contacts are masked.
    values = [
        json_text(read(after[who])[trait]) if isinstance(trait, str) else None
        for who, trait in zip(sent["subscriber_id"], sent["trait_key"], strict=True)
    ]
    desired = typed(sent.assign(value=values, status=None, reason_code=None), DESIRED_COLUMNS)
    options = {name: getattr(plan, name) for name in ("custom_events", "max_removal_share")}
    now = plan_desired(desired, subscribers, **options)
    seen = plan.writes.set_index("subscriber_id")["before"].reindex(now.writes["subscriber_id"])
    both = zip(seen, now.writes["before"], strict=True)
    is_same = [one == other or _unordered(one) == _unordered(other) for one, other in both]
    rows = now.changes.set_index(sent.index)
    who = rows["subscriber_id"]
    is_sent = rows["operation"].notna() & who.isin(now.writes.loc[is_same, "subscriber_id"])
    is_there = rows["status"] == ChangeStatus.UNCHANGED.value
    fates = pd.DataFrame({"free": ~is_stale[sent.index], "kept": is_sent, "done": is_there})
    fates = fates.groupby(who).transform("all").astype("bool")
    is_kept, is_done = fates["free"] & fates["kept"], fates["free"] & fates["done"]
    is_gone = rows["reason_code"] == "SUBSCRIBER_GONE"
    is_stale[sent.index] = ~(is_gone | is_done | is_kept)
    settled = changes.copy()
    settled.loc[sent.index[~is_kept], "operation"] = None
    settled.update(rows.loc[is_gone | is_done, _ENDED])
    settled.loc[is_stale, _ENDED] = [ChangeStatus.PENDING.value, "PLAN_STALE"]
    there = subscribers.drop_duplicates("subscriber_id", keep="last")
    return replace(
        plan,
        changes=settled,
        writes=now.writes[now.writes["subscriber_id"].isin(who[is_kept])].reset_index(drop=True),
        subscribers=there.merge(plan.subscribers[["subscriber_id"]], on="subscriber_id"),
    )


def _unordered(text: str) -> dict[str, Any]:
    """Return the properties in a cell of ``before``, the list of audiences in no order."""
    held = properties_of(text).items()
    return {name: sorted(value) if name == api.AUDIENCES_PROPERTY else value for name, value in held}


def save_plan(
    path: Path | str, plan: Plan, folded: Folded | None, *, shop: api.Shop, default_region: str
) -> Path:
    """Write a plan to a file, whole or not at all, and return its path; a file that is there is replaced.

    The file holds the phones and emails of the plan's people as they are, because those who subscribe later
    are found by them: only its owner can read it; keep it where customer data belongs. It never holds a key.
    *plan* and *folded* are as for sync(); *shop* is the only one on which the plan can be carried out;
    *default_region* is the country in which phones without a country code are read.
    """
    path = Path(path)
    frames = {name: getattr(plan, name) for name in _PLAN_FRAMES}
    if folded is not None:
        frames |= {"events": folded.events.assign(email=None, phone=None), **vars(folded.state)}
    members = {
        "changes.csv": csv_text(masked(plan.changes)).encode(),
        **{f"{name}.parquet": typed(f, _FRAMES[name]).to_parquet(index=False) for name, f in frames.items()},
    }
    about = {
        "format": FORMAT,
        "shop_id": shop.shop_id,
        "shop_name": shop.name,
        "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "default_region": default_region,
        **{name: getattr(plan, name) for name in _ABOUT_PLAN},
        "looked_at_beside": {**plan.looked_at_beside},
        "planned_calls": plan.planned_calls,
        "sha256": {name: _digest(data) for name, data in members.items()},
    }
    make_folder(path.parent)
    write_whole(path, lambda temporary: _write_zip(temporary, about, members))
    return path


def load_plan(path: Path | str) -> SavedPlan:
    """Read a plan that save_plan() wrote, as it was made; `SavedPlan.refresh` makes it ready for sync().

    InputPathError when there is no such file; FileFormatError when it is not a saved plan, is torn or was
    edited, or a newer toolkit wrote it.
    """
    about, members = _read_zip(Path(path))
    frames = {
        name: typed(pd.read_parquet(io.BytesIO(members[f"{name}.parquet"])), columns)
        for name, columns in _FRAMES.items()
        if f"{name}.parquet" in members
    }
    plan = Plan(
        **{name: frames.pop(name) for name in _PLAN_FRAMES},
        custom_events=about["custom_events"],
        max_removal_share=about["max_removal_share"],
        looked_at_beside=about.get("looked_at_beside", {}),
    )
    folded, people = None, empty_table(PEOPLE_COLUMNS)
    if frames:
        folded = Folded(events=frames.pop("events"), state=State(**frames))
        people = folded.state.choose().people
    return SavedPlan(
        plan=plan,
        folded=folded,
        contacts=check_contacts(people, default_region=about["default_region"]),
        saved_at=datetime.fromisoformat(about["saved_at"]),
        **{name: about[name] for name in ("shop_id", "shop_name", "default_region")},
    )


# --- the zip ----------------------------------------------------------------------------------------------


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write_zip(path: Path, about: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
    listed = json.dumps(about, indent=2).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in {_ABOUT: listed, **members}.items():
            packed.writestr(name, data)
        packed.comment = _digest(listed).encode()


def _read_zip(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return ``plan.json`` and the other members, once it is certain that they are what was written."""
    if not path.is_file():
        raise InputPathError(f"There is no saved plan at {path}. Give the path that save_plan() returned.")
    try:
        with zipfile.ZipFile(path) as packed:
            seal = packed.comment.decode("ascii", "replace")
            members = {name: packed.read(name) for name in packed.namelist()}
        listed = members.pop(_ABOUT)
        about: dict[str, Any] = json.loads(listed)
        version = about["format"]
    except Exception as error:  # whatever a torn zip, or a file that is none, leads to
        raise FileFormatError(f"{path.name} is not a saved plan, or is torn. {_INSTEAD}") from error
    if version != FORMAT:
        raise FileFormatError(
            f"{path.name} was saved by another version of the toolkit: its format is {str(version)[:20]}, "
            f"and this one reads {FORMAT}. Update the toolkit, or make a new plan."
        )
    digests = {name: _digest(data) for name, data in members.items()}
    if (seal, digests) != (_digest(listed), about.get("sha256")):
        raise FileFormatError(f"{path.name} was changed after it was saved. {_INSTEAD}")
    return about, members
