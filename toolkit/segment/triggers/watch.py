"""What stands between the conditions, and what Segment passes over: for the linter alone."""

from __future__ import annotations

from typing import Final

from .official_tokens import Token
from .slips import Slips

_ELSEWHERE: Final = frozenset(("anonymousId", "messageId", "groupId", "integrations"))
"""Fields of an event that conditions could be about, but not at Segment."""


class Watch:
    """Follows what stands between the conditions, for the linter alone."""

    def __init__(self, slips: Slips) -> None:
        self.slips = slips
        self.conditions = 0
        self.joints: set[str] = set()
        self.waiting: Token | None = None
        """The and or or that no condition has followed yet."""
        self.silent = False
        """Whether what is ignored next belongs to something already noted."""
        self.forgiven = 0
        """Closing parentheses to come that were used up by a call."""

    def joint(self, token: Token) -> None:
        """Take note of an and or or."""
        if self.waiting is not None or not (self.conditions or self.silent):
            self.slips.add("stray-connective", token.position)
        if self.joints - {token.text}:
            self.slips.add("mixed-connectives", token.position)
        self.joints.add(token.text)
        self.waiting, self.silent = token, False

    def condition(self, token: Token) -> None:
        """Take note of a condition or group that counts."""
        if self.conditions and self.waiting is None and not self.silent:
            self.slips.add("missing-connective", token.position)
        self.conditions += 1
        self.waiting, self.silent = None, False

    def unknown(self, token: Token, field: str, follower: Token) -> None:
        """Take note of a name that is no field and no function."""
        self.pass_over(_unknown_word(token, field, follower), token)

    def dropped(self, path: Token) -> None:
        """Take note of a call that is dropped for its path."""
        field = path.text.partition(".")[0]
        code = "function-on-type" if field == "type" else "skipped-field"
        self.pass_over("not-portable-field" if field in _ELSEWHERE else code, path)

    def passed(self, token: Token) -> None:
        """Take note of any other token that begins nothing."""
        if token.text != ")" or token.kind != "mark":
            self.pass_over("ignored-text", token)
        elif self.forgiven:
            self.forgiven -= 1
        else:
            self.slips.add("extra-parenthesis", token.position)

    def pass_over(self, code: str, token: Token) -> None:
        """Note the first of what is ignored in a row."""
        if not self.silent or code not in ("ignored-text", "skipped-field"):
            self.slips.add(code, token.position)
        self.waiting, self.silent = None, True

    def end(self) -> None:
        """Take note of the end of the list."""
        if self.waiting is not None:
            self.slips.add("stray-connective", self.waiting.position)


def derails(operator: Token, value: Token, follower: Token) -> bool:
    """Tell whether a condition was torn apart, so that what follows is no mistake of its own."""
    if operator.kind != "operator" or value.kind in ("operator", "mark", "joint"):
        return True
    return value.kind in ("string", "number") and follower.position < value.position + len(value.text) + (
        follower.kind == "ident"
    )


def _unknown_word(token: Token, field: str, follower: Token) -> str:
    if token.text in ("and", "or"):
        return "missing-space"
    if token.text.lower() in ("and", "or"):
        return "uppercase-word"
    if token.text.lower() == "not":
        return "lost-negation"
    if field in _ELSEWHERE:
        return "not-portable-field"
    return "unknown-function" if follower.text == "(" else "skipped-field"
