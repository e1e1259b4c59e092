"""``python -m benchmarks.plan [1000000]``: plan for a million members, beside one bare ``pandas.merge``.

The merge lays the same members beside the same subscribers by phone and does nothing else. Both in one
process, the best of three, in its own seconds, so that other work on the machine counts less; each begins
with empty caches, as a plan does that is made once. An exclamation mark is a limit exceeded: four times the
merge, or eleven times as long for ten times the members. The last lines read the tables from a ledger and
count that in, once.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.audiences.memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, State
from toolkit.contacts.bulk import check_contacts
from toolkit.ledger import Ledger
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS, FetchResult, SubscriberCache
from toolkit.sync.plan import Plan, plan

ROUNDS = 3
MAX_RATIO, MAX_GROWTH = 4.0, 11.0
_ELSEWHERE = np.zeros(16_000_000)
"""128 MB, more than the caches of a processor."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is asked for, and which subscribers there are."""

    state: State
    contacts: pd.DataFrame
    subscribers: pd.DataFrame


def numbered(style: str, numbers: np.ndarray) -> pd.Series:
    """Return one text a number: *style* with the number, of ten digits, in its place."""
    head, _, tail = style.partition("#")
    digits = pc.cast(pa.array(numbers + 2_000_000_000), pa.large_string())
    head, tail, nothing = (pa.scalar(part, pa.large_string()) for part in (head, tail, ""))
    text = pc.binary_join_element_wise(head, digits, tail, nothing)
    return text.to_pandas().astype("str")


def texts(value: Any, count: int) -> pd.Series:
    return pd.Series(
        pa.array([value]).cast(pa.large_string()).take(pa.array(np.zeros(count, int))).to_pandas()
    )


def shuffled(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(count)


def people(count: int, *, phone: bool = True, email: bool = True) -> pd.DataFrame:
    numbers = shuffled(count, 1)
    columns = {
        "person": numbered("user:#", np.sort(numbers)),
        "email": numbered("Shopper#@mail.test", numbers) if email else None,
        "phone": numbered("+1#", numbers) if phone else None,
    }
    return pd.DataFrame(columns).reindex(columns=[*PEOPLE_COLUMNS]).astype(PEOPLE_COLUMNS)


def members(known: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return a word of each person on each audience, in the order the ledger has them."""
    count = len(known) * len(keys)
    seconds = np.random.default_rng(2).integers(0, 10_000_000, count)
    times = pd.Series(pd.to_datetime(1_740_000_000 + seconds, unit="s", utc=True)).astype(
        "datetime64[us, UTC]"
    )
    key = pd.Series(np.tile(np.array(keys, "object"), len(known)), dtype="str")
    return pd.DataFrame(
        {
            "person": known["person"].repeat(len(keys)).reset_index(drop=True),
            "audience_key": key,
            "audience_id": ("aud_" + key).astype("str"),
            "member": True,
            "timestamp": times,
            "received_at": times,
            "message_id": numbered("message-#", np.arange(count)),
        }
    ).astype(MEMBERSHIP_COLUMNS)


def shop(count: int, audiences: pd.Series, *, properties: int = 3) -> pd.DataFrame:
    """Return as many subscribers, in an order of their own."""
    numbers = shuffled(count, 3)
    return pd.DataFrame(
        {
            "subscriber_id": numbered("s_#", numbers),
            "phone_digits": numbered("1#", numbers),
            "email_folded": numbered("shopper#@mail.test", numbers),
            "audiences": audiences,
            "has_property": True,
            "property_count": properties,
            "properties": None,
            "can_send": True,
            "updated_at": texts("2025-01-02T00:00:00Z", count),
        }
    ).astype(SUBSCRIBER_COLUMNS)


def make_case(count: int, name: str) -> Case:
    """Return a case of *count* memberships and as many subscribers."""
    keys = ["vip", "churned_90d", "browsed"] if name.startswith("three") else ["vip"]
    known = people(count // len(keys), phone="email" not in name, email="phone" not in name)
    held = texts('["other","vip"]' if name.startswith("daily") else '["other"]', count)
    if name.startswith("daily"):
        held = held.mask(np.arange(count) % 50 == 0, '["other"]')
    if name.startswith("all lists"):
        held = numbered('["other","key #"]', np.arange(count))
    state = State(memberships=members(known, keys), people=known)
    return Case(state=state, contacts=check_contacts(known), subscribers=shop(count, held))


CASES = [
    "all to add",
    "daily, 2 % changed",
    "phone only",
    "email only",
    "three audiences a person",
    "all lists differ",
]


def best(act: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Return the seconds of the fastest of some rounds."""
    seconds = []
    for _ in range(rounds):
        np.add(_ELSEWHERE, 1, out=_ELSEWHERE)
        started = time.process_time()
        act()
        seconds.append(time.process_time() - started)
    return min(seconds)


def measure(case: Case) -> tuple[float, float]:
    """Return the seconds of a bare merge, and of plan()."""
    contact = "phone_digits" if case.contacts["phone_e164"].notna().any() else "email_folded"
    clean = {"phone_digits": case.contacts["phone_e164"].str.removeprefix("+")}
    clean["email_folded"] = case.contacts["email_clean"]
    left = case.state.memberships.merge(case.contacts.assign(**{contact: clean[contact]}), on="person")
    return best(lambda: merged(left, case.subscribers, contact)), best(lambda: planned(case))


def merged(members: pd.DataFrame, subscribers: pd.DataFrame, contact: str) -> pd.DataFrame:
    return members.merge(subscribers, on=contact, how="left")


def through_ledger(case: Case, folder: str) -> tuple[float, float]:
    """Return the seconds of reading a ledger and merging, and of reading it and planning."""
    with Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        ledger.save_state("shop", "run", case.state)
        cache = SubscriberCache(subscribers=case.subscribers, is_complete=True)
        fetched = FetchResult(cache=cache, read=case.subscribers, replaces=True, method="listing")
        ledger.save_cache("shop", fetched)

        def read() -> Case:
            state = ledger.load_state("shop")
            held = ledger.load_cache("shop").subscribers
            return Case(state=state, contacts=case.contacts, subscribers=held)

        def read_and_merge() -> pd.DataFrame:
            found = read()
            phones = found.contacts.assign(phone_digits=found.contacts["phone_e164"].str.removeprefix("+"))
            return merged(
                found.state.memberships.merge(phones, on="person"), found.subscribers, "phone_digits"
            )

        return best(read_and_merge, 1), best(lambda: planned(read()), 1)


def planned(case: Case) -> Plan:
    return plan(case.state, case.contacts, case.subscribers)


def peak() -> float:
    """Return the most memory this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(*, count: int, name: str, from_ledger: bool) -> dict[str, float]:
    """Return the seconds of the merge and of the plan, and the peak of memory in MB, in this process."""
    planned(make_case(1000, name))  # what is loaded on first use is loaded
    case = make_case(count, name)
    if from_ledger:
        with tempfile.TemporaryDirectory() as folder:
            merge, own = through_ledger(case, folder)
    else:
        merge, own = measure(case)
    return {"merge": merge, "plan": own, "peak": peak()}


def in_a_process(count: int, name: str, *, from_ledger: bool = False) -> dict[str, float]:
    """Measure in a process of its own, as a plan is made in one."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, count=count, name=name, from_ledger=from_ledger).result()


def print_times(name: str, size: int, found: dict[str, float], small: dict[str, float] | None) -> None:
    ratio, own = found["plan"] / found["merge"], found["plan"]
    times = f"{found['merge']:8.2f} s{own:8.2f} s{ratio:5.1f} ×{'!' if ratio > MAX_RATIO else ' '}"
    grown = own / small["plan"] if small else 0.0
    growth = f"{grown:.1f} ×{'!' if grown > MAX_GROWTH else ' '}" if grown else ""
    print(f"{name:28}{size:>11,}{times}{growth:>8}{found['peak']:7,.0f} MB", flush=True)


def main() -> None:
    """Print a table: the case, seconds of the merge and of the plan, their ratio, and how both grow."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    names = sys.argv[2:] or CASES
    print(f"{'case':28}{'members':>11}{'merge':>10}{'plan':>10}{'ratio':>7}{'grown':>8}{'peak':>11}")
    for name in names:
        small = in_a_process(count // 10, name)
        print_times(name, count // 10, small, None)
        print_times(name, count, in_a_process(count, name), small)
    small = in_a_process(count // 10, names[0], from_ledger=True)
    print_times("read from a ledger, and …", count // 10, small, None)
    print_times("read from a ledger, and …", count, in_a_process(count, names[0], from_ledger=True), small)


if __name__ == "__main__":
    main()
