"""Frames that lack a column are refused with a sentence that names it."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest

import toolkit
from toolkit.audiences.memberships import State
from toolkit.contacts.bulk import check_contacts
from toolkit.errors import ParameterError
from toolkit.frames import last_rows, places_in
from toolkit.sync.plan.columns import places

NONE = pd.DataFrame({"person": ["user:1"], "email": ["a@mail.test"]})
CHECKED = check_contacts(NONE.assign(phone=None))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: toolkit.check_contacts(NONE), "people lacks the column phone"),
        (lambda: toolkit.fold(NONE), "payloads lacks the columns file, line"),
        (lambda: toolkit.plan(State.empty(), NONE, NONE), "contacts lacks the columns phone, email_clean"),
        (lambda: toolkit.plan(State.empty(), CHECKED, NONE), "subscribers lacks the columns subscriber_id"),
        (lambda: toolkit.read_subscribers(NONE, None), "contacts lacks the columns phone"),
        (lambda: toolkit.mirror_member_list(None, NONE), "subscribers lacks the columns subscriber_id"),
        (lambda: toolkit.check_contacts([NONE]), "people must be a DataFrame, not list"),
    ],
    ids=["check_contacts", "fold", "plan", "subscribers", "read", "mirror", "no frame"],
)
def test_a_missing_column_is_named(call, sentence):
    """The sentence has the table and what it lacks, and nothing that is in it."""
    with pytest.raises(ParameterError, match=sentence) as caught:
        call()
    assert "mail.test" not in str(caught.value)


def test_a_table_without_rows_has_no_last_ones():
    """Where nothing is, nothing is last, and nothing is found."""
    nothing = pa.table({"person": pa.array([], pa.string()), "at": pa.array([], pa.int64())})
    assert last_rows(nothing, ["person"], ["at"]).tolist() == []
    assert places_in(nothing, nothing).tolist() == []


def test_a_null_is_not_found():
    """Where there is no text there is no place."""
    wanted = pd.Series(["b", None, "b", "a", "c"], dtype="str")
    assert places(wanted, pd.Series(["a", "b", None], dtype="str")).tolist() == [1, -1, 1, 0, -1]
