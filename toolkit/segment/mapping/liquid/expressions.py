"""Expressions in a template, as python-liquid parses them: each becomes a function of the rendering.

What Segment's engine would read in another way than python-liquid is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from liquid.builtin.expressions import (
    Filter,
    FilteredExpression,
    KeywordArgument,
    Literal,
    Nil,
    Path,
    PositionalArgument,
    logical,
)
from liquid.builtin.expressions.primitive import Blank, Empty
from liquid.exceptions import LiquidSyntaxError
from liquid.expression import Expression

from .filters import DISABLED_FILTERS, FILTERS, UNSUPPORTED_FILTERS
from .values import Rendering, are_equal, contains, is_blank, is_empty, is_less, is_nil, is_true, property_of

Value: TypeAlias = Callable[[Rendering], Any]

_WORDS: Final[dict[type, Callable[[Any], bool]]] = {Nil: is_nil, Empty: is_empty, Blank: is_blank}
_COMPARISONS: Final[dict[type, Callable[[Any, Any], bool]]] = {
    logical.EqExpression: are_equal,
    logical.NeExpression: lambda left, right: not are_equal(left, right),
    logical.GtExpression: lambda left, right: is_less(right, left),
    logical.LtExpression: is_less,
    logical.GeExpression: lambda left, right: is_less(right, left, or_equal=True),
    logical.LeExpression: lambda left, right: is_less(left, right, or_equal=True),
    logical.ContainsExpression: contains,
}


def unsupported(what: str) -> LiquidSyntaxError:
    """Return the error for a part of the language that is not supported."""
    return LiquidSyntaxError(f"{what} is not supported here", token=None)


def value_of(expression: Expression) -> Value:
    """Return the function that gives the value of an expression, filtered or not."""
    match expression:
        case FilteredExpression(left=left, filters=filters):
            value = value_of(left)
            for call in filters or ():
                value = _filtered(value, call)
            return value
        case Path(path=segments):
            return _path([_key(segment) for segment in segments])
        case Literal(value=constant):
            return lambda _: constant
        case Nil() | Empty() | Blank():
            raise unsupported("nil, empty or blank as a value")
    raise unsupported(str(expression)[:60])


def _path(keys: list[Value]) -> Value:
    first, *others = keys

    def value(rendering: Rendering) -> Any:
        found = rendering.variable(first(rendering))
        for key in others:
            found = property_of(found, key(rendering))
        return found

    return value


def _key(segment: str | int | Path) -> Value:
    if not isinstance(segment, Path):
        if isinstance(segment, str) and ('"' in segment or "'" in segment):
            raise unsupported("a quote within a key in brackets")
        return lambda _: segment
    if any(isinstance(part, Path) for part in segment.path):
        raise unsupported("a bracket within brackets")
    value = value_of(segment)

    def key(rendering: Rendering) -> Any:
        found = value(rendering)
        rendering.weigh(found)
        return found

    return key


def _filtered(value: Value, call: Filter) -> Value:
    """Return the value after a filter; a filter that Segment does not know leaves it as it is."""
    if call.name in DISABLED_FILTERS:
        raise LiquidSyntaxError(f"Segment has turned the filter {call.name} off", token=call.token)
    if call.name in UNSUPPORTED_FILTERS:
        raise unsupported(f"the filter {call.name}")
    if call.name == "json" and call.args:
        raise unsupported("an argument of the filter json")
    function = FILTERS.get(call.name)
    arguments = [_argument(argument) for argument in call.args]
    if function is None:
        return value

    def filtered(rendering: Rendering) -> Any:
        given = [value(rendering), *[argument(rendering) for argument in arguments]]
        for part in given:
            rendering.weigh(part)
        return function(rendering, *given)

    return filtered


def _argument(argument: PositionalArgument | KeywordArgument) -> Value:
    """Return the value of a filter's argument; of a named one, the name and the value."""
    value = value_of(argument.value)
    if isinstance(argument, PositionalArgument):
        return value
    name = argument.name
    return lambda rendering: [name, value(rendering)]


def condition_of(expression: Expression) -> Callable[[Rendering], bool]:
    """Return the function that says whether a condition is met; ``and`` and ``or`` bind from the right."""
    terms: list[tuple[Value, bool]] = []
    (part,) = expression.children()
    while isinstance(part, logical.LogicalAndExpression | logical.LogicalOrExpression):
        terms.append((_comparison(part.left), isinstance(part, logical.LogicalAndExpression)))
        part = part.right
    last = _comparison(part)

    def is_met(rendering: Rendering) -> bool:
        result = is_true(last(rendering))
        for term, is_and in reversed(terms):
            holds = is_true(term(rendering))
            result = holds and result if is_and else holds or result
        return result

    return is_met


def _comparison(expression: Any) -> Value:
    compare = _COMPARISONS.get(type(expression))
    if compare is None:
        return value_of(expression)
    is_equality = isinstance(expression, logical.EqExpression)
    if is_equality or isinstance(expression, logical.NeExpression):
        for word, other in ((expression.right, expression.left), (expression.left, expression.right)):
            if type(word) in _WORDS:
                test, value = _WORDS[type(word)], value_of(other)
                return lambda rendering: test(value(rendering)) is is_equality
    left, right = value_of(expression.left), value_of(expression.right)

    def holds(rendering: Rendering) -> bool:
        operands = left(rendering), right(rendering)
        for operand in operands:
            rendering.weigh(operand)
        return compare(*operands)

    return holds
