"""What the notebooks' parameters mean: their names, types and bounds, and the text that stands for them.

papermill guesses types and jupyter-scheduler passes everything as text, so ``"True"``, ``"14"`` and
``'["vip_customers"]'`` are read as what they stand for. An unknown name is an error, not a warning.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from toolkit.contacts.checks import check_region
from toolkit.errors import ParameterError

ParameterReader = Callable[[str, Any], Any]
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _text(name: str, value: Any) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value).strip()
    raise ParameterError(f"{name} is {value!r}; give a text.")


def _keys(name: str, value: Any) -> tuple[str, ...]:
    """Read a list of texts; JSON text for one; or one key as it is."""
    keys = value
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return ()
        if not text.startswith("["):
            return (text,)
        try:
            keys = json.loads(text)
        except (ValueError, RecursionError):
            keys = None
    if isinstance(keys, list | tuple) and all(isinstance(key, str) and key.strip() for key in keys):
        return tuple(dict.fromkeys(key.strip() for key in keys))
    raise ParameterError(f'{name} is {value!r}; give a list of keys such as ["vip_customers"].')


def _flag(name: str, value: Any) -> bool:
    text = str(value).strip().lower()
    if isinstance(value, bool | int | str) and text in _FLAGS:
        return _FLAGS[text]
    raise ParameterError(f"{name} is {value!r}; give True or False.")


def _number(low: float, high: float, *, above: bool = False) -> ParameterReader:
    def read(name: str, value: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not (low <= number <= high) or (above and number == low):
            bounds = f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
            raise ParameterError(f"{name} is {value!r}; give a number {bounds}.")
        return number

    return read


def _choice(name: str, value: Any) -> str:
    if value in CHOICES[name]:
        return str(value)
    raise ParameterError(f"{name} is {value!r}; use one of {', '.join(CHOICES[name])}.")


def _region(name: str, value: Any) -> str:
    return check_region(_text(name, value))


def _ledger_url(name: str, value: Any) -> str:
    text = _text(name, value)
    if not text:
        return text
    from toolkit.ledger.messages import read_address  # SQLAlchemy: only a named ledger waits for it

    if read_address(text).passwords:
        raise ParameterError(
            f"{name} holds a password, and parameters are saved in the notebook. Put the whole URL into the "
            f"environment variable TOOLKIT_LEDGER_URL, and leave {name} empty."
        )
    return text


CHOICES: Mapping[str, tuple[str, ...]] = {
    "custom_events": ("transitions", "none"),
    "held_changes": ("keep", "apply", "discard"),
    "sync_mode": ("mirror", "add_only", "remove_only"),
    "task": ("undo", "repair", "resend"),
}
"""Parameter → the only values it may have."""

_FLAG_NAMES = ("dry_run", "read_again", "verify", "look_up", "full_read", "skip_opted_out", "repeat_unknown")
_READERS: Mapping[str, ParameterReader] = {
    **dict.fromkeys(("audience_keys", "drift_kinds", "ghost_keys", "event_ids"), _keys),
    "default_region": _region,
    "ledger_url": _ledger_url,
    "requests_per_second": _number(0, 15, above=True),
    "canary": lambda name, value: int(_number(1, 10_000)(name, value)),
    **dict.fromkeys(_FLAG_NAMES, _flag),
    **dict.fromkeys(("max_removal_share", "warn_unusable_share", "max_unusable_share"), _number(0, 1)),
    **dict.fromkeys(CHOICES, _choice),
}
"""Parameter → how it is read; the others are texts."""

_EVENTS = ("events_path", "audience_keys", "mappings_path", "default_region")
_PACE = ("dry_run", "plan_path", "requests_per_second")
_WHAT = ("sync_mode", "skip_opted_out", "custom_events", "max_removal_share")
_CARE = ("full_read", "read_again", "canary", "held_changes", "repeat_unknown")
_SHARES = ("warn_unusable_share", "max_unusable_share")
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "1_preview_audiences": (*_EVENTS, "corrections_path", "look_up", "ledger_url", "output_dir"),
    "2_validate_contacts": (
        *("events_path", "mappings_path", "default_region"),
        *(*_SHARES, "corrections_path", "output_dir"),
    ),
    "3_sync_audiences": (*_EVENTS, *_PACE, *_WHAT, *_CARE, "corrections_path", "ledger_url", "output_dir"),
    "4_audit_report": ("run_id", "verify", "ledger_url", "output_dir"),
    "5_repair_and_undo": (
        *("task", "run_id", "drift_kinds", "ghost_keys", "event_ids", "dry_run", "requests_per_second"),
        *("custom_events", "max_removal_share", "ledger_url", "output_dir"),
    ),
}
"""Notebook → its parameters, in the order of its parameters cell."""


def read_parameter(name: str, value: Any) -> Any:
    """Return one parameter's value in its own type; ParameterError when it cannot be."""
    reader: ParameterReader = _READERS.get(name, _text)
    return reader(name, value)


def read_parameters(notebook: str, given: Mapping[str, Any]) -> SimpleNamespace:
    """Return the parameters of *notebook* as attributes, checked and in their own types.

    Raises
    ------
    ParameterError
        Naming every bad value at once.
    """
    values, problems = {}, []
    for name in PARAMETERS[notebook]:
        try:
            values[name] = read_parameter(name, given[name])
        except KeyError:
            problems.append(f"{name} is not set; run the parameters cell first.")
        except ParameterError as problem:
            problems.append(str(problem))
    if problems:
        raise ParameterError(" ".join(problems))
    return SimpleNamespace(**values)


def check_injected(notebook: str, cells: Iterable[str], *, unmarked: bool = False) -> None:
    """Raise ParameterError when a cell that was injected sets a name this notebook does not have.

    papermill itself only warns, so that a misspelt ``dry_runn`` would pass unnoticed. jupyter-scheduler's
    cell has no mark: with *unmarked* every cell of nothing but assignments is taken for one. At the keyboard
    that may be a cell of the analyst's own.
    """
    known = PARAMETERS[notebook]
    names = [name for cell in cells for name in _injected_names(cell, unmarked=unmarked)]
    if unknown := [name for name in names if name not in known]:
        raise ParameterError(f"{notebook} has no parameter {', '.join(unknown)}. It has {', '.join(known)}.")


def _injected_names(cell: str, *, unmarked: bool) -> list[str]:
    """Return the names that a cell assigns, if it is an injected one."""
    is_marked = cell.lstrip().startswith("# Parameters")
    try:
        body = ast.parse(cell).body if is_marked or unmarked else []
    except SyntaxError:
        return []  # with a magic in it; what is injected is Python
    assigned = [statement for statement in body if isinstance(statement, ast.Assign)]
    if not is_marked and len(assigned) < len(body):
        return []
    targets = [target for statement in assigned for target in statement.targets]
    return [target.id for target in targets if isinstance(target, ast.Name)]
