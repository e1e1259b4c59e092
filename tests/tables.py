"""Long tables of cases that need no fixture: one test for the whole table, which names what fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings

Test = Callable[..., None]


def every(names: str, cases: Iterable[Any], *, quick: int | None = None) -> Callable[[Test], Test]:
    """Like ``pytest.mark.parametrize``, but one test: it tries all cases and fails with those that fail.

    With *quick*, the cases after the first so many are the slow form.
    """
    wanted, table = names.split(", "), [*cases]

    def decorate(test: Test) -> Test:
        assert table, f"{test.__name__} has no cases"
        assert sorted(inspect.signature(test).parameters) == sorted(wanted), test.__name__

        def try_all(part: list[Any]) -> None:
            failed: dict[str, BaseException] = {}
            for place, case in enumerate(part):
                try:
                    test(**dict(zip(wanted, case if len(wanted) > 1 else [case], strict=True)))
                except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001
                    failed[f"{place}: {label(case)}"] = error
            if failed:
                message = f"{len(failed)} of {len(part)} cases failed: {'; '.join(failed)}"
                raise BaseExceptionGroup(message, [*failed.values()])

        parts = [pytest.param(table[:quick], id="all" if quick is None else "quick")]
        if quick is not None:
            parts.append(pytest.param(table[quick:], id="rest", marks=pytest.mark.slow))
        return pytest.mark.parametrize("part", parts)(_named_like(test, try_all))

    return decorate


def examples(short: int, long: int, *strategies: Any, **named: Any) -> Callable[[Test], Test]:
    """Like ``hypothesis.given``: so many examples always, *long* of them in the slow form."""

    def decorate(test: Test) -> Test:
        def try_some(count: int) -> None:
            settings(derandomize=True, deadline=None, max_examples=count)(given(*strategies, **named)(test))()

        counts = [short, pytest.param(long, marks=pytest.mark.slow)]
        return pytest.mark.parametrize("count", counts)(_named_like(test, try_some))

    return decorate


def label(case: Any) -> str:
    """Return a short name of a case: its id, if it has one."""
    return str(case["id"]) if isinstance(case, dict) and "id" in case else repr(case)[:80]


def _named_like(test: Test, made: Test) -> Test:
    made.__name__, made.__doc__, made.__module__ = test.__name__, test.__doc__, test.__module__
    return made
