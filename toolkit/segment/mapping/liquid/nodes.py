"""The parts of a parsed template, and how they are rendered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

from liquid import Node, RenderContext
from liquid.ast import BlockNode
from liquid.builtin.content import ContentNode
from liquid.builtin.tags.liquid_tag import LiquidNode
from liquid.token import Token

from toolkit.segment.mapping.javascript import number_text
from toolkit.segment.mapping.values import MISSING

from .expressions import FilteredValue, Operand
from .state import State
from .values import is_js_true, is_true, key_text, texts_of


def render(nodes: Iterable[Node], state: State, output: list[str]) -> None:
    """Add the texts that *nodes* print to *output*."""
    for node in nodes:
        if isinstance(node, Step):
            node.run(state, output)
        elif isinstance(node, ContentNode):
            _write(node.text, state, output)
        elif isinstance(node, BlockNode):
            render(node.nodes, state, output)
        elif isinstance(node, LiquidNode):
            render(node.block.nodes, state, output)
        if state.is_stopped:
            return


def _write(text: str, state: State, output: list[str]) -> None:
    state.spend(len(text))
    output.append(text)


class Step(Node):
    """A part that does something of its own; python-liquid only carries it."""

    def run(self, state: State, output: list[str]) -> None:
        """Do it, adding what it prints to *output*."""
        raise NotImplementedError

    def render_to_output(self, context: RenderContext, buffer: object) -> NoReturn:
        """Not for python-liquid's own rendering."""
        raise NotImplementedError


class Print(Step):
    """``{{ value }}`` and ``echo``."""

    def __init__(self, token: Token, value: FilteredValue) -> None:
        super().__init__(token)
        self._value = value

    def run(self, state: State, output: list[str]) -> None:
        """Print the value."""
        for text in texts_of(self._value.evaluate(state)):
            _write(text, state, output)


class Assign(Step):
    """``assign``."""

    def __init__(self, token: Token, name: str, value: FilteredValue) -> None:
        super().__init__(token)
        self._name = name
        self._value = value

    def run(self, state: State, output: list[str]) -> None:  # noqa: ARG002
        """Set the variable."""
        state.assign(self._name, self._value.evaluate(state))


class Capture(Step):
    """``capture``."""

    def __init__(self, token: Token, name: str, block: BlockNode) -> None:
        super().__init__(token)
        self._name = name
        self._block = block

    def run(self, state: State, output: list[str]) -> None:  # noqa: ARG002
        """Set the variable to what the block prints."""
        captured: list[str] = []
        render(self._block.nodes, state, captured)
        state.assign(self._name, state.join("", captured))


class Branches(Step):
    """``if`` and ``unless`` with their further branches."""

    def __init__(
        self, token: Token, branches: Sequence[tuple[FilteredValue | None, BlockNode]], *, negated: bool
    ) -> None:
        super().__init__(token)
        self._branches = branches
        self._negated = negated

    def run(self, state: State, output: list[str]) -> None:
        """Render the first branch whose condition is met; one without a condition always is."""
        wanted = not self._negated
        for condition, block in self._branches:
            if condition is None or is_true(condition.evaluate(state)) is wanted:
                render(block.nodes, state, output)
                return
            wanted = True  # only the first condition of unless is turned round


class Cycle(Step):
    """``cycle``."""

    def __init__(self, token: Token, group: Operand | None, values: Sequence[FilteredValue]) -> None:
        super().__init__(token)
        self._group = group
        self._values = values

    def run(self, state: State, output: list[str]) -> None:
        """Print the value whose turn it is."""
        group = MISSING if self._group is None else self._group.evaluate(state)
        state.weigh(group)
        key = f"{key_text(group)}:{','.join(value.text for value in self._values)}"
        value = self._values[state.next_in_cycle(key, len(self._values))].evaluate(state)
        for text in texts_of(value) if is_js_true(value) else ():  # 0 and false do not show
            _write(text, state, output)


class Count(Step):
    """``increment`` prints a counter and then moves it; ``decrement`` moves it first."""

    def __init__(self, token: Token, name: str, step: int) -> None:
        super().__init__(token)
        self._name = name
        self._step = step

    def run(self, state: State, output: list[str]) -> None:
        """Move and print the counter."""
        before, after = state.count(self._name, self._step)
        _write(number_text(before if self._step > 0 else after), state, output)


class Stop(Step):
    """``break`` and ``continue``: without loops, they end the template."""

    def run(self, state: State, output: list[str]) -> None:  # noqa: ARG002
        """End it."""
        state.is_stopped = True
