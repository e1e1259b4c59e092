"""Reading the expressions in a template: values, operators and filters, as Segment's engine reads them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from toolkit.segment.mapping.values import MISSING

from .expressions import Constant, FilterCall, FilteredValue, Lookup, Operand, Operator, Range
from .values import Word

BLANKS: Final = (
    "\t\n\v\f\r \u00a0\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
MAX_DEPTH: Final = 30
"""How deep brackets and ranges may be nested."""

_WORD = re.compile(f"[-0-9A-Za-z_?]|[^\x00-\x7f{BLANKS}\u201c\u201d]")
_IDENTIFIER = re.compile(f"(?:{_WORD.pattern})*")
_OPERATOR = re.compile(rf"==|!=|>=|<=|>|<|(?:contains|not|and|or)(?!{_WORD.pattern})")
_LITERAL = re.compile(rf"(?:true|false|nil|null|empty|blank)(?!{_WORD.pattern})")
_NUMBER = re.compile(rf"[-+]?[0-9]+(?:\.(?!\.)[0-9]*)?(?!{_WORD.pattern})(?!\.(?!\.))")
_QUOTED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{0,4})|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_LITERALS: Final = {
    "true": True,
    "false": False,
    "nil": Word.NIL,
    "null": Word.NIL,
    "empty": Word.EMPTY,
    "blank": Word.BLANK,
}


class ExpressionError(Exception):
    """An expression in a template cannot be read."""


class Reader:
    """Reads one tag's or output's text from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    # --- what tags ask for

    def filtered_value(self) -> FilteredValue:
        """Read a value or condition, and the filters after it."""
        start = self._at
        tokens = []
        while (token := self._operator() or self.value()) is not None:
            tokens.append(token)
        if not tokens:
            raise ExpressionError(f"a value is missing before {self._rest()!r}")
        filters = []
        while (call := self._filter()) is not None:
            filters.append(call)
        return FilteredValue(tokens=tokens, filters=filters, text=self._text[start : self._at])

    def identifier(self) -> str:
        """Read a name; blank when there is none."""
        self._skip()
        return self._match(_IDENTIFIER) or ""

    def quoted(self) -> str | None:
        """Read a text in quotes."""
        self._skip()
        if self._peek() not in ("'", '"'):
            return None
        found = _QUOTED.match(self._text, self._at)
        if found is None:
            raise ExpressionError(f"a text without its closing quote: {self._rest()!r}")
        self._at = found.end()
        return _ESCAPE.sub(_unescaped, found[2])

    def value(self) -> Operand | None:
        """Read a value without filters."""
        self._skip()
        start = self._at
        found = self._plain_value()
        keys = self._keys(is_start=found is None)
        if not keys:
            return found
        return Lookup(found, keys, self._text[start : self._at])

    def skip_to(self, sign: str) -> bool:
        """Go on behind the next *sign*, or to the end; tell whether there was one."""
        found = self._text.find(sign, self._at)
        self._at = found + len(sign) if found >= 0 else len(self._text)
        return found >= 0

    def take(self, sign: str) -> bool:
        """Read *sign* if it comes next, after any blanks; tell whether it did."""
        self._skip()
        found = self._text.startswith(sign, self._at)
        self._at += len(sign) if found else 0
        return found

    def is_at_end(self) -> bool:
        """Tell whether nothing but blanks is left."""
        self._skip()
        return self._at >= len(self._text)

    @property
    def position(self) -> int:
        """How far it has read; may be set back to try again."""
        return self._at

    @position.setter
    def position(self, value: int) -> None:
        self._at = value

    # --- parts

    def _plain_value(self) -> Operand | None:
        literal = self._match(_LITERAL)
        if literal is not None:
            return Constant(_LITERALS[literal], literal)
        text = self.quoted()
        if text is not None:
            return Constant(text, text)
        number = self._match(_NUMBER)
        if number is not None:
            return Constant(float(number) if "." in number else int(number), number)
        return self._nested(self._range) if self._peek() == "(" else None

    def _range(self) -> Operand:
        start = self._at
        self._at += 1
        low = self._needed_value()
        if not self.take(".."):
            raise ExpressionError(f"brackets only hold ranges such as (1..3): {self._rest()!r}")
        high = self._needed_value()
        if not self.take(")"):
            raise ExpressionError(f"a range without its closing bracket: {self._rest()!r}")
        return Range(low, high, self._text[start : self._at])

    def _needed_value(self) -> Operand:
        value = self.value()
        if value is None:
            raise ExpressionError(f"a value is missing before {self._rest()!r}")
        return value

    def _keys(self, *, is_start: bool) -> list[Operand]:
        keys: list[Operand] = []
        while True:
            if self._peek() == "[":
                keys.append(self._nested(self._bracket))
            elif is_start and not keys and (name := self.identifier()):
                keys.append(Constant(name, name))
            elif self._peek() == "." and not self._text.startswith("..", self._at):
                self._at += 1
                name = self.identifier()
                if not name:
                    return keys
                keys.append(Constant(name, name))
            else:
                return keys

    def _bracket(self) -> Operand:
        self._at += 1
        key = self.value() or Constant("", "")
        if not self.skip_to("]"):
            raise ExpressionError("[ is not closed")
        return key

    def _nested(self, read: Callable[[], Operand]) -> Operand:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"brackets nested deeper than {MAX_DEPTH} levels")
        found = read()
        self._depth -= 1
        return found

    def _operator(self) -> Operator | None:
        self._skip()
        found = self._match(_OPERATOR)
        return None if found is None else Operator(found)

    def _filter(self) -> FilterCall | None:
        if self.is_at_end() or self._peek() in (")", ","):
            return None
        if not self.take("|"):
            raise ExpressionError(f"expected | before {self._rest()!r}")
        name = self.identifier()
        if not name:
            if not self.is_at_end():
                raise ExpressionError(f"a filter's name is missing before {self._rest()!r}")
            return None
        return FilterCall(name=name, arguments=self._arguments())

    def _arguments(self) -> list[Operand | tuple[str, Operand]]:
        arguments: list[Any] = []
        sign = ":"
        while self.take(sign):
            argument = self._argument()
            if argument is not None:
                arguments.append(argument)
            sign = ","
            if not self.is_at_end() and self._peek() not in (",", "|", ")"):
                raise ExpressionError(f"expected a comma before {self._rest()!r}")
        if not self.is_at_end() and self._peek() not in ("|", ")", ","):
            raise ExpressionError(f"expected : before {self._rest()!r}")
        return arguments

    def _argument(self) -> Operand | tuple[str, Operand] | None:
        start = self._at
        value = self.value()
        if value is None:
            return None
        name = self._text[start : self._at].strip(BLANKS)
        if not self.take(":"):
            return value
        return name, self.value() or Constant(MISSING, "")

    def _skip(self) -> None:
        while self._peek() and self._peek() in BLANKS:
            self._at += 1

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found[0]

    def _rest(self) -> str:
        return self._text[self._at : self._at + 32] or "the end"


def _unescaped(found: re.Match[str]) -> str:
    code, octal, other = found.groups()
    if code is not None:
        return chr(int(code or "0", 16))
    return chr(int(octal, 8)) if octal is not None else _ESCAPED.get(other, other)
