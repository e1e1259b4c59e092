"""The order of events in time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from .columns import texts


def by_time(events: pd.DataFrame) -> np.ndarray:
    """Return the order of the rows by their times, nulls first, and where those are equal as they are."""
    times = {name: pa.array(events[name]) for name in ("timestamp", "received_at")}
    keys = {**times, "message_id": texts(events["message_id"]), "place": np.arange(len(events))}
    sort_keys = [(name, "ascending", "at_start") for name in keys]
    return np.asarray(pc.sort_indices(pa.table(keys), sort_keys=sort_keys).to_numpy())
