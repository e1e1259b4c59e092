"""What a frame that an analyst hands in must have."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from .errors import ParameterError


def check_columns(frame: pd.DataFrame, columns: Iterable[str], *, of: str) -> None:
    """Raise ParameterError when *frame*, called *of* in the sentence, lacks one of the columns."""
    if not isinstance(frame, pd.DataFrame):
        raise ParameterError(f"{of} must be a DataFrame, not {type(frame).__name__}.")
    if absent := [name for name in columns if name not in frame]:
        raise ParameterError(
            f"{of} lacks the {'columns' if len(absent) > 1 else 'column'} {', '.join(absent)}. "
            "Add what is missing, or rename what is there."
        )
