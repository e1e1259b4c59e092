import math
import random
from contextlib import nullcontext

import pytest
from tables import every

from toolkit.errors import InputError, ParameterError
from toolkit.notebook.parameters import PARAMETERS, check_injected, read_parameters

SYNC = "3_sync_audiences"
GOOD = {
    "events_path": "events.jsonl",
    "audience_keys": [],
    "mappings_path": "",
    "default_region": "US",
    "dry_run": True,
    "requests_per_second": 14,
    "custom_events": "transitions",
    "max_removal_share": 0.5,
    "full_read": False,
    "read_again": False,
    "held_changes": "keep",
    "plan_path": "",
    "sync_mode": "mirror",
    "skip_opted_out": False,
    "canary": 1,
    "repeat_unknown": False,
    "task": "undo",
    "drift_kinds": [],
    "ghost_keys": [],
    "event_ids": [],
    "warn_unusable_share": 0.1,
    "max_unusable_share": 1.0,
    "corrections_path": "",
    "ledger_url": "",
    "run_id": "",
    "verify": False,
    "look_up": False,
    "output_dir": "output",
}
NOTEBOOK_OF = {name: notebook for notebook, names in PARAMETERS.items() for name in names}


def read(name, value):
    """Return one parameter, read by a notebook that has it."""
    return getattr(read_parameters(NOTEBOOK_OF[name], {**GOOD, name: value}), name)


@pytest.mark.parametrize("notebook", PARAMETERS)
def test_each_notebook_gets_its_own(notebook):
    """A notebook's parameters become attributes in their own types, and nothing else of globals() does."""
    found = read_parameters(notebook, {**GOOD, "In": [], "_": 1})
    assert tuple(vars(found)) == PARAMETERS[notebook]


def test_types():
    """Values that already have their types stay as they are; lists become tuples and numbers floats."""
    assert vars(read_parameters(SYNC, GOOD)) == {
        "events_path": "events.jsonl",
        "audience_keys": (),
        "mappings_path": "",
        "default_region": "US",
        "dry_run": True,
        "requests_per_second": 14.0,
        "custom_events": "transitions",
        "max_removal_share": 0.5,
        "full_read": False,
        "plan_path": "",
        "sync_mode": "mirror",
        "skip_opted_out": False,
        "canary": 1,
        "repeat_unknown": False,
        "read_again": False,
        "held_changes": "keep",
        "corrections_path": "",
        "ledger_url": "",
        "output_dir": "output",
    }


@every(
    "name, value, expected",
    [
        ("dry_run", "True", True),
        ("dry_run", "true ", True),
        ("dry_run", "YES", True),
        ("dry_run", 1, True),
        ("dry_run", "False", False),
        ("dry_run", "no", False),
        ("dry_run", "0", False),
        ("dry_run", 0, False),
        ("requests_per_second", "14", 14.0),
        ("requests_per_second", " 7.5 ", 7.5),
        ("requests_per_second", 15, 15.0),
        ("requests_per_second", "1e-2", 0.01),
        ("max_removal_share", 0, 0.0),
        ("max_removal_share", "1", 1.0),
        ("warn_unusable_share", "0.25", 0.25),
        ("max_unusable_share", 1, 1.0),
        ("corrections_path", " a.csv", "a.csv"),
        ("audience_keys", ["vip"], ("vip",)),
        ("audience_keys", ("vip", "churn"), ("vip", "churn")),
        ("audience_keys", '["vip", "churn"]', ("vip", "churn")),
        ("audience_keys", ' ["vip"]\n', ("vip",)),
        ("audience_keys", "[]", ()),
        ("audience_keys", " ", ()),
        ("audience_keys", " vip ", ("vip",)),
        ("audience_keys", "a, b", ("a, b",)),
        ("audience_keys", [" vip", "vip", "churn"], ("vip", "churn")),
        ("default_region", " gb ", "GB"),
        ("custom_events", "none", "none"),
        ("events_path", " data/*.gz ", "data/*.gz"),
        ("run_id", 20260301, "20260301"),
        ("verify", "1", True),
    ],
)
def test_what_text_stands_for(name, value, expected):
    """Text from a scheduler is read as what it stands for."""
    found = read(name, value)
    assert found == expected
    assert type(found) is type(expected)


@every(
    "name, value",
    [
        *((name, None) for name in GOOD),
        *(("dry_run", value) for value in ("", "maybe", "None", 2, -1, 1.0, [])),
        *(
            ("requests_per_second", value)
            for value in (0, -1, 15.1, "0", "", "fast", True, False, math.nan, "nan", math.inf, "inf", [14])
        ),
        ("requests_per_second", 10**400),
        *(("max_removal_share", value) for value in (-0.01, 1.01, "50%", True, math.nan, "-inf", "")),
        *(("max_unusable_share", value) for value in (-0.01, 1.01, "most", None)),
        ("warn_unusable_share", "10%"),
        *(("custom_events", value) for value in ("", "all", "Transitions", True, ["none"])),
        *(("held_changes", value) for value in ("", "Keep", True)),
        *(("default_region", value) for value in ("", "UK", "USA", 1, True)),
        *(("audience_keys", value) for value in ([""], ["vip", 1], [None], {"vip": 1}, 7, True, "[vip]")),
        *(("audience_keys", value) for value in ("['vip']", '["vip"', '[""]', "[1]", "[" * 100_000)),
        *(("events_path", value) for value in (True, [], {}, b"x")),
        ("verify", "perhaps"),
    ],
)
def test_bad_values(name, value):
    """A value that cannot be used is refused by name, and what was given is shown."""
    with pytest.raises(ParameterError) as caught:
        read(name, value)
    assert str(caught.value).startswith(f"{name} is ")
    # The region is shown as it was read: as text.
    assert (str(value) if name == "default_region" else repr(value)) in str(caught.value)


def test_error_is_of_both_kinds():
    """A bad parameter is a ValueError to Python and an input error to the notebook."""
    with pytest.raises(ParameterError) as caught:
        read("dry_run", "maybe")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, InputError)


def test_every_bad_value_is_named_at_once():
    """Three bad values and a missing one are one error with four sentences; good ones are not mentioned."""
    given = {**GOOD, "dry_run": "maybe", "requests_per_second": 0, "max_removal_share": 2}
    del given["output_dir"]
    with pytest.raises(ParameterError) as caught:
        read_parameters(SYNC, given)
    message = str(caught.value)
    assert "dry_run is 'maybe'; give True or False." in message
    assert "requests_per_second is 0; give a number above 0 and at most 15." in message
    assert "max_removal_share is 2; give a number from 0 to 1." in message
    assert "output_dir is not set; run the parameters cell first." in message
    assert "events_path" not in message


@every("seed", range(100))
def test_numbers_stay_in_bounds(seed):
    """Whatever number is given, as a number or as text, it comes back unchanged or is refused."""
    chance = random.Random(seed)
    number = chance.choice([chance.uniform(-20, 20), chance.uniform(0, 1), chance.randrange(-2, 20)])
    for name, good in (("requests_per_second", 0 < number <= 15), ("max_removal_share", 0 <= number <= 1)):
        for value in (number, str(number)):
            if good:
                assert read(name, value) == number
            else:
                with pytest.raises(ParameterError):
                    read(name, value)


# --- injected cells ----------------------------------------------------------------------------------------


@every(
    "cells",
    [
        [],
        ["# Parameters\ndry_run = False\nevents_path = 'a'\n"],
        ["# Parameters\n"],
        ["dry_runn = False"],
        ["", "x = [", "%matplotlib inline", "import os"],
        ['# Parameters\naudience_keys = ["# Parameters", "x = 1"]'],
    ],
)
def test_injected_cells_that_pass(cells):
    """Only names set by papermill's own cell are judged, and known ones pass."""
    check_injected(SYNC, cells)


@every(
    "cells, unknown",
    [
        (["# Parameters\ndry_runn = False\n"], "dry_runn"),
        (["\n  \n# Parameters\nverify = True"], "verify"),
        (["# Parameters\na = 1\ndry_run = True\nb = 2"], "a, b"),
        (["import os", "# Parameters\nsecret_key = 'x'"], "secret_key"),
        (["# Parameters\na = dry_runn = 1"], "a, dry_runn"),
    ],
)
def test_unknown_injected_names(cells, unknown):
    """A name the notebook does not have is an error that names it and those there are, not its value."""
    with pytest.raises(ParameterError) as caught:
        check_injected(SYNC, cells)
    assert str(caught.value) == f"{SYNC} has no parameter {unknown}. It has {', '.join(PARAMETERS[SYNC])}."


@every(
    "cell, unknown",
    [
        ("dry_runn = False\noutput_dir = '/out'", "dry_runn"),
        ("dry_run = False\nrequests_per_second = 14", ""),
        ("a: int = 1", ""),
        ("import toolkit\njob = 1", ""),
        ("%matplotlib inline\nx = 1", ""),
        ("", ""),
    ],
)
def test_unmarked_cells_in_an_unattended_run(cell, unknown):
    """jupyter-scheduler marks nothing: a cell of assignments alone is taken for its own, on demand only."""
    check_injected(SYNC, [cell])
    with pytest.raises(ParameterError, match=f"no parameter {unknown}") if unknown else nullcontext():
        check_injected(SYNC, [cell], unmarked=True)


def test_parameters_are_those_of_the_design():
    """The notebooks have exactly the parameters that schedules were written against."""
    assert {name: {*parameters} for name, parameters in PARAMETERS.items()} == {
        "1_preview_audiences": {
            *("events_path", "audience_keys", "mappings_path", "default_region", "output_dir"),
            *("corrections_path", "look_up", "ledger_url"),
        },
        "2_validate_contacts": {
            *("events_path", "mappings_path", "default_region", "output_dir"),
            *("warn_unusable_share", "max_unusable_share", "corrections_path"),
        },
        "3_sync_audiences": {
            *("events_path", "audience_keys", "mappings_path", "default_region", "dry_run"),
            *("requests_per_second", "custom_events", "max_removal_share", "ledger_url", "output_dir"),
            *("corrections_path", "full_read", "read_again", "held_changes"),
            *("plan_path", "sync_mode", "skip_opted_out", "canary", "repeat_unknown"),
        },
        "4_audit_report": {"run_id", "verify", "ledger_url", "output_dir"},
        "5_repair_and_undo": {
            *("task", "run_id", "drift_kinds", "ghost_keys", "event_ids", "dry_run", "requests_per_second"),
            *("custom_events", "max_removal_share", "ledger_url", "output_dir"),
        },
    }


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://ana:hush1@db.test/x",
        "postgresql+psycopg://ana:hu@sh1@db.test/x",
        "postgresql+psycopg://db.test/x?user=ana&password=hush1",
    ],
)
def test_a_ledger_url_with_a_password_is_refused(url):
    """Parameters are saved in notebooks; the sentence names where it belongs, and repeats nothing of it."""
    with pytest.raises(ParameterError, match="TOOLKIT_LEDGER_URL") as caught:
        read("ledger_url", url)
    assert "sh1" not in str(caught.value)
    assert read("ledger_url", "postgresql://ana@db.test/x?sslmode=require").startswith("postgresql")
