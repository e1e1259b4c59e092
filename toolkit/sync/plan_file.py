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
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from toolkit.audiences.memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, TRAIT_COLUMNS, Folded, State
from toolkit.contacts.bulk import check_contacts
from toolkit.contacts.masks import masked
from toolkit.errors import FileFormatError, InputPathError, ParameterError
from toolkit.files import csv_text, make_folder, write_whole
from toolkit.postscript import api
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS
from toolkit.segment.events import PAYLOAD_COLUMNS

from .desired import recheck
from .plan import CHANGE_COLUMNS, Plan
from .plan.columns import have_like
from .plan.matching import match_people
from .plan.writing import WRITE_COLUMNS

FORMAT = 1
"""Version of the file's layout."""

_ABOUT = "plan.json"
_ABOUT_WHAT = {"memberships": ["person", "audience_key"], "traits": ["person", "trait_key"]}
_PLAN_FRAMES = {"changes": CHANGE_COLUMNS, "writes": WRITE_COLUMNS, "subscribers": SUBSCRIBER_COLUMNS}
_FOLDED_FRAMES = {
    "events": PAYLOAD_COLUMNS,
    "memberships": MEMBERSHIP_COLUMNS,
    "people": PEOPLE_COLUMNS,
    "traits": TRAIT_COLUMNS,
}


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

        Parameters
        ----------
        subscribers
            What Postscript holds now, from `read_subscribers`.
        remembered
            What the ledger remembers now, `Ledger.load_state`. A newer state than the plan's stands; where it
            differs, or the person is another subscriber by the newer contacts, the plan is stale.
        """
        self.check_shop(shop)
        known, folded, contacts = remembered or State.empty(), self.folded, self.contacts
        changes = self.plan.changes
        if folded is None:
            memberships = changes[changes["audience_key"].notna()].reindex(columns=[*MEMBERSHIP_COLUMNS])
            is_stale = _differ(changes, replace(State.empty(), memberships=memberships), known)
        else:
            state = folded.state.after(_of_same(folded.state, known))
            is_stale = _differ(changes, folded.state, state)
            is_stale |= self._are_reached_again(subscribers, state.after(known))
            folded = replace(folded, state=state)
            contacts = check_contacts(state.choose().people, default_region=self.default_region)
        is_stale |= self._are_others(subscribers, contacts)
        checked = recheck(self.plan, subscribers, overruled=is_stale)
        return replace(self, plan=replace(checked, kind="saved_plan"), folded=folded, contacts=contacts)

    def _are_others(self, subscribers: pd.DataFrame, contacts: pd.DataFrame) -> np.ndarray:
        """Tell of each change whether its person, looked up by contact, is another subscriber by now."""
        changes = self.plan.changes
        found = match_people(contacts, subscribers).drop_duplicates("person")
        now = changes[["person"]].merge(found, how="left", on="person")
        is_moved = now["subscriber_id"].to_numpy() != changes["subscriber_id"].to_numpy()
        # A person who matches no subscriber any more is gone, which recheck() finds. For a new contact no
        # subscriber was read.
        named = ["person", "phone_e164", "email_clean"]
        same = self.contacts[named].merge(contacts[named], on=named)["person"]
        is_gone = (now["reason_code"] == "SUBSCRIBER_NOT_FOUND").to_numpy() & changes["person"].isin(same)
        is_sent = changes["operation"].notna() & changes["match_method"].notna()
        return np.asarray(is_sent & ~is_gone & is_moved)

    def _are_reached_again(self, subscribers: pd.DataFrame, state: State) -> np.ndarray:
        """Tell which changes would take an audience from a subscriber that another person is by now."""
        changes = self.plan.changes
        is_moved = (changes["reason_code"] == "CONTACT_MOVED").to_numpy()
        if not is_moved.any():
            return np.zeros(len(changes), np.bool_)
        asked = state.choose(changes.loc[is_moved, "audience_key"].unique())
        contacts = check_contacts(asked.people, default_region=self.default_region)
        memberships = asked.memberships.merge(match_people(contacts, subscribers), on="person")
        return np.asarray(is_moved & have_like(changes, memberships, ["subscriber_id", "audience_key"]))


def _of_same(state: State, known: State) -> State:
    """Return the part of *known* on the memberships, traits and people of *state*."""
    keys = {
        "memberships": ["person", "audience_key"],
        "traits": ["person", "trait_key"],
        "people": ["person"],
    }
    return State(
        **{name: getattr(known, name).merge(getattr(state, name)[key], on=key) for name, key in keys.items()}
    )


def _differ(changes: pd.DataFrame, before: State, after: State) -> np.ndarray:
    """Tell of each of *changes* whether its value in *after* differs from that in *before*."""
    found = np.zeros(len(changes), np.bool_)
    for name, about in _ABOUT_WHAT.items():
        value = "member" if name == "memberships" else "value"
        both = getattr(before, name).merge(getattr(after, name), on=about, suffixes=("", "_after"))
        found |= have_like(changes, both[both[value] != both[f"{value}_after"]], about)
    return found


def save_plan(
    path: Path | str, plan: Plan, folded: Folded | None, *, shop: api.Shop, default_region: str
) -> Path:
    """Write a plan to a file, whole or not at all, and return its path; a file that is there is replaced.

    The file holds the phones and emails of the plan's people as they are, because those who subscribe later
    are found by them: only its owner can read it; keep it where customer data belongs. It never holds a key.

    Parameters
    ----------
    plan, folded
        As for sync().
    shop
        The shop it was made for, and the only one on which it can be carried out.
    default_region
        The country in which phones without a country code are read.
    """
    path = Path(path)
    members = {
        "changes.csv": csv_text(masked(plan.changes)).encode(),
        **{f"{name}.parquet": _packed(getattr(plan, name)) for name in _PLAN_FRAMES},
    }
    if folded is not None:
        frames = {"events": folded.events.assign(email=None, phone=None), **vars(folded.state)}
        members |= {f"{name}.parquet": _packed(frames[name].astype(c)) for name, c in _FOLDED_FRAMES.items()}
    about = {
        "format": FORMAT,
        "shop_id": shop.shop_id,
        "shop_name": shop.name,
        "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "default_region": default_region,
        "custom_events": plan.custom_events,
        "max_removal_share": plan.max_removal_share,
        "removal_share": plan.removal_share,
        "looked_at_beside": {**plan.looked_at_beside},
        "adds": plan.adds,
        "removes": plan.removes,
        "updates": plan.updates,
        "planned_calls": plan.planned_calls,
        "sha256": {name: _digest(data) for name, data in members.items()},
    }
    make_folder(path.parent)
    write_whole(path, lambda temporary: _write_zip(temporary, about, members))
    return path


def load_plan(path: Path | str) -> SavedPlan:
    """Read a plan that save_plan() wrote, as it was made; `SavedPlan.refresh` makes it ready for sync().

    Raises
    ------
    InputPathError
        There is no such file.
    FileFormatError
        It is not a saved plan, it is torn or was edited, or a newer toolkit wrote it.
    """
    path = Path(path)
    about, members = _read_zip(path)
    made = {name: _unpacked(members[f"{name}.parquet"], columns) for name, columns in _PLAN_FRAMES.items()}
    plan = Plan(
        **made,
        custom_events=about["custom_events"],
        max_removal_share=about["max_removal_share"],
        looked_at_beside=about.get("looked_at_beside", {}),
    )
    folded, people = None, pd.DataFrame(columns=["person", "email", "phone"], dtype="str")
    if "events.parquet" in members:
        frames = {name: _unpacked(members[f"{name}.parquet"], c) for name, c in _FOLDED_FRAMES.items()}
        events = frames.pop("events")
        folded = Folded(events=events, state=State(**frames))
        people = folded.state.choose().people
    return SavedPlan(
        plan=plan,
        folded=folded,
        contacts=check_contacts(people, default_region=about["default_region"]),
        shop_id=about["shop_id"],
        shop_name=about["shop_name"],
        saved_at=datetime.fromisoformat(about["saved_at"]),
        default_region=about["default_region"],
    )


# --- the zip ----------------------------------------------------------------------------------------------


def _packed(frame: pd.DataFrame) -> bytes:
    held = io.BytesIO()
    frame.to_parquet(held, index=False)
    return held.getvalue()


def _unpacked(data: bytes, columns: Mapping[str, str]) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(data))[[*columns]].astype(dict(columns))


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
        raise _not_whole(path, "is not a saved plan, or is torn") from error
    if version != FORMAT:
        raise FileFormatError(
            f"{path.name} was saved by another version of the toolkit: its format is {str(version)[:20]}, "
            f"and this one reads {FORMAT}. Update the toolkit, or make a new plan."
        )
    if seal != _digest(listed) or {name: _digest(data) for name, data in members.items()} != about.get(
        "sha256"
    ):
        raise _not_whole(path, "was changed after it was saved")
    return about, members


def _not_whole(path: Path, what: str) -> FileFormatError:
    return FileFormatError(
        f"{path.name} {what}. Nothing of it is used; save the plan again. Its files are for reading: to send "
        "something else, make another plan."
    )
