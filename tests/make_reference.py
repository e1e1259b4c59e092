"""Write docs/reference again, from the docstrings of the public names: ``python tests/make_reference.py``."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from importlib import import_module
from inspect import isclass, isfunction, ismodule
from pathlib import Path
from typing import Any

import griffe

import toolkit

PROJECT = Path(__file__).parent.parent
TARGET = PROJECT / "docs" / "reference"
WIDTH = 120
GLOSSARY = "columns.md"

PAGES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "read.md": (
        "Read",
        "Events and member lists, as they lie in files.",
        ("segment.archive", "segment.member_lists"),
    ),
    "choose.md": (
        "Choose",
        "Which events count, what they say, and why.",
        (
            "segment.destination",
            "segment.triggers",
            "segment.mapping",
            "segment.javascript",
            "report.explain",
        ),
    ),
    "preview.md": (
        "Preview",
        "Who is in each audience.",
        ("audiences.preview", "audiences.memberships", "sync.forecast"),
    ),
    "validate.md": (
        "Validate",
        "Whether the people can be looked up.",
        ("contacts", "contacts.corrections"),
    ),
    "postscript.md": (
        "Postscript",
        "The connection, and what is held there.",
        ("postscript.client", "postscript.lookup", "postscript.reader", "postscript.subscribers"),
    ),
    "plan.md": (
        "Plan",
        "What a sync would do, and what it costs.",
        ("sync.plan", "sync.cost", "sync.plan_file", "sync.mirror"),
    ),
    "sync.md": (
        "Sync",
        "Doing it, remembering it, taking it back.",
        ("sync.sync", "ledger", "sync.undo"),
    ),
    "audit.md": (
        "Audit",
        "Looking back, and repairing what differs.",
        ("report.audit", "sync.runs", "sync.drift", "report.timeline"),
    ),
    "report.md": ("Report", "Tables, charts and the document.", ("report",)),
    "notebooks.md": (
        "Notebooks",
        "What a notebook starts and ends with.",
        ("notebook.run", "notebook.connections"),
    ),
    "errors.md": ("Errors", "What is raised on purpose.", ("errors",)),
}
"""File → its title, its sentence, and the modules whose public names it tells of."""

Object = Any
"""A griffe.Object; its attributes depend on its kind."""


def public_names() -> dict[str, Any]:
    """Return every name with a description: those of ``toolkit``, and the tables and charts of its rooms."""
    face = {name: getattr(toolkit, name) for name in toolkit.__all__}
    names = {name: value for name, value in face.items() if not ismodule(value)}
    tables = {
        name: getattr(room, name) for room in (toolkit.contacts, toolkit.report) for name in room.__all__
    }
    return names | tables


class Reference:
    """The public names of the package, and the page of each."""

    def __init__(self) -> None:
        self.package: Object = griffe.load(
            "toolkit", search_paths=[str(PROJECT)], docstring_parser=griffe.Parser.numpy
        )
        self.objects = {name: self._find(name) for name in public_names()}
        self.constants = {
            each.name: each
            for each in _attributes(self.package)
            if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", each.name)
        }
        self.mentioned: set[str] = set()
        if lost := [each.path for each in self.objects.values() if not _module_of(each)]:
            raise ValueError(f"PAGES has no page for the module of {', '.join(lost)}.")

    def _find(self, name: str) -> Object:
        """Return where a name is defined; a module of the same name hides a function from griffe."""
        value = public_names()[name]
        if isclass(value) or isfunction(value):
            return self.package[f"{value.__module__.partition('.')[2]}.{value.__qualname__}"]
        return self.package[name].final_target

    def names_of(self, page: str) -> list[str]:
        """Return the names that a page tells of: module after module, functions, classes, constants."""
        modules = PAGES[page][2]
        of = {name: _module_of(each) for name, each in self.objects.items()}
        found = [name for name, module in of.items() if module in modules]
        return sorted(
            found,
            key=lambda n: (modules.index(of[n]), self.objects[n].is_attribute, self.objects[n].is_class, n),
        )

    def link(self, name: str) -> str:
        """Return a link to where a public name or a constant is described; other text as code."""
        bare = name.removesuffix("()")
        if bare in self.objects:
            page = next(page for page in PAGES if bare in self.names_of(page))
            return f"[`{name}`]({page}#{anchor(heading(bare, self.objects[bare]))})"
        if name in self.constants:
            self.mentioned.add(name)
            return f"[`{name}`]({GLOSSARY}#{anchor(name)})"
        return f"`{name}`"

    def kind(self, annotation: Any) -> str:
        """Return a type, linked when it is a public one or None; empty when there is none to tell."""
        text = short(annotation).strip("()")
        if text.removeprefix("Final") in {"", "None"}:
            return ""
        first, optional, after = text.partition(" | None")
        return (
            self.link(first) + " | `None`"
            if optional and first in self.objects and not after
            else self.link(text)
        )

    def prose(self, text: str) -> str:
        """Return a docstring's text as Markdown, in one line a paragraph; examples as code."""
        return "\n\n".join(
            f"```pycon\n{part}\n```" if part.startswith(">>>") else self._marked(" ".join(part.split()))
            for part in re.split(r"\n\s*\n", text.strip())
        )

    def _marked(self, text: str) -> str:
        pieces = re.split(r"(``.+?``|`.+?`)", text)
        for place, piece in enumerate(pieces):
            if place % 2:
                pieces[place] = f"`{piece.strip('`')}`"
                continue
            plain = piece.replace("<", "&lt;")
            known = r"\b[a-z][a-z_]*\(\)|\b[A-Z]+(?:_[A-Z]+)+\b"
            pieces[place] = re.sub(known, lambda found: self.link(found[0]), plain)
        return "".join(pieces)


def _attributes(module: Object) -> Iterable[Object]:
    for member in module.members.values():
        if member.is_alias:
            continue
        if member.is_module:
            yield from _attributes(member)
        elif member.is_attribute:
            yield member


def heading(name: str, each: Object) -> str:
    """Return a name as its heading says it: ``Plan`` and ``plan`` would have one anchor."""
    return f"class {name}" if each.is_class else name


def _module_of(each: Object) -> str:
    """Return the module of PAGES that an object is defined in; empty when there is none."""
    placed = (module for _title, _sentence, modules in PAGES.values() for module in modules)
    return next((module for module in placed if each.path.startswith(f"toolkit.{module}.")), "")


def anchor(title: str) -> str:
    """Return the anchor that a heading gets."""
    return re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")


def short(annotation: Any) -> str:
    """Return a type without the modules it is from."""
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", str(annotation))


def signature(name: str, each: Object) -> str:
    """Return how a function or class is called, without types."""
    words, before = [], None
    for parameter in each.parameters:
        if parameter.name in {"self", "cls"}:
            continue
        kind = parameter.kind
        if kind is griffe.ParameterKind.keyword_only and before not in {
            kind,
            griffe.ParameterKind.var_positional,
        }:
            words.append("*")
        stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}
        default = "" if parameter.default is None or kind in stars else f"={_quoted(parameter.default)}"
        words.append(f"{stars.get(kind, '')}{parameter.name}{default}")
        before = kind
    returns = short(each.returns) if each.is_function and each.returns else ""
    end = f") -> {returns}" if returns and returns != "None" else ")"
    start = ("await " if "async" in each.labels else "") + name + "("
    line = start + ", ".join(words) + end
    if len(line) <= 100:
        return line
    inside = textwrap.fill(", ".join(words), 96, break_long_words=False, break_on_hyphens=False)
    return f"{start}\n{textwrap.indent(inside, '    ')}\n{end}"


def _quoted(default: Any) -> str:
    """Return a default as our code has it: griffe turns every quote into a single one."""
    text = str(default)
    if text.startswith(("_", "lambda")):
        return "…"
    return text if '"' in text else text.replace("'", '"')


def bullet(term: str, text: str) -> str:
    """Return an item of a list, filled to the width of the page."""
    first, *others = text.split("\n\n")
    parts = [f"- {term}: {first}" if first else f"- {term}", *others]
    return "\n\n".join(filled(part, indent="  " if place else "") for place, part in enumerate(parts))


def filled(text: str, *, indent: str = "") -> str:
    if text.startswith("```"):
        return text
    after = "  " if text.startswith("- ") else indent
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=after,
        break_long_words=False,
        break_on_hyphens=False,
    )


def sections(reference: Reference, each: Object) -> Iterable[str]:
    """Yield the parts of a docstring as Markdown: text, then each section under its name."""
    for section in each.docstring.parsed if each.docstring else ():
        kind, value = section.kind.value, section.value
        if kind == "text":
            yield "\n\n".join(filled(part) for part in reference.prose(value).split("\n\n"))
        elif kind == "examples":
            yield "**Examples**"
            for what, text in value:
                is_code = what is griffe.DocstringSectionKind.examples
                yield f"```pycon\n{text}\n```" if is_code else filled(reference.prose(text))
        else:
            yield f"**{kind.title()}**"
            yield "\n".join(_item(reference, each, entry, kind) for entry in value)


def _item(reference: Reference, each: Object, entry: Object, kind: str) -> str:
    text = reference.prose(entry.description)
    if kind != "parameters":
        return bullet(reference.kind(entry.annotation), text)
    # Several parameters can share a text; griffe gives them all the type of the first.
    annotation = each.parameters[entry.name].annotation
    return bullet(typed(entry.name, reference.kind(annotation)), text)


def typed(name: str, kind: str) -> str:
    """Return a name with its type, if that is known."""
    return f"`{name}` ({kind})" if kind else f"`{name}`"


def members(each: Object) -> dict[str, Object]:
    """Return the public members of a class, its own and those it inherits from ours."""
    found = {name: getattr(m, "final_target", m) for name, m in each.all_members.items() if name[0] != "_"}
    return {name: m for name, m in found.items() if m.is_function or m.is_attribute}


def describe(reference: Reference, name: str, each: Object) -> Iterable[str]:
    """Yield all there is to say of a public name."""
    yield f"## {heading(name, each)}"
    if each.is_attribute:
        yield from sections(reference, each)
        yield value_of(each)
        return
    # A dataclass is what a function returns: no one makes one by hand.
    if each.is_function or (each.docstring and "Parameters\n" in each.docstring.value):
        yield f"```python\n{signature(name, each)}\n```"
    yield from sections(reference, each)
    if each.is_class:
        yield from describe_members(reference, name, each)


def describe_members(reference: Reference, name: str, each: Object) -> Iterable[str]:
    """Yield the attributes of a class as a list, and its methods with headings of their own."""
    found = members(each)
    values = [m for m in found.values() if m.is_attribute]
    if values:
        yield "**Attributes**"
        yield "\n".join(
            bullet(
                typed(value.name, reference.kind(value.annotation or "")),
                reference.prose(value.docstring.value if value.docstring else ""),
            )
            for value in values
        )
    for method in found.values():
        if method.is_function:
            yield f"### {name}.{method.name}"
            owner = f"{name}." if {"classmethod", "staticmethod"} & method.labels else ""
            yield f"```python\n{signature(owner + method.name, method)}\n```"
            yield from sections(reference, method)


def value_of(each: Object) -> str:
    """Return what a constant holds: columns with their types, codes with their meanings, or names."""
    value = getattr(import_module(each.parent.path), each.name)
    if isinstance(value, Mapping):
        return "\n".join(bullet(f"`{key}`", _meaning(meaning)) for key, meaning in value.items())
    if isinstance(value, tuple | list | set | frozenset):
        return filled(", ".join(f"`{item}`" for item in value))
    return filled(f"Its value: {value}" if isinstance(value, str) else "")


def _meaning(value: Any) -> str:
    words = value if isinstance(value, tuple) else (value,)
    return " ".join(str(word) for word in words if word).replace("<", "&lt;")


def pages() -> dict[str, str]:
    """Return every file of the reference: its name, and its text."""
    reference = Reference()
    made = {}
    for page, (title, sentence, _modules) in PAGES.items():
        parts = [f"# Reference: {title.lower()}", sentence]
        for name in reference.names_of(page):
            parts += describe(reference, name, reference.objects[name])
        if page == "errors.md":
            parts += _errors(reference)
        made[page] = _joined(parts)
    return {"README.md": _index(reference), **made, GLOSSARY: _glossary(reference)}


def _errors(reference: Reference) -> Iterable[str]:
    yield "Each is in `toolkit.errors`, and has the base that is written in brackets too:"
    tree = reference.package["errors"].docstring.value.partition("\n\n")[2]
    yield f"```text\n{tree}\n```"


def _glossary(reference: Reference) -> str:
    parts = ["# Columns and codes", "What the names in capitals on these pages stand for."]
    done: set[str] = set()
    # What explains one may name another.
    while todo := sorted(reference.mentioned - done):
        for name in todo:
            each = reference.constants[name]
            parts += [f"## {name}", *sections(reference, each), value_of(each)]
        done |= {*todo}
    return _joined(parts)


def _index(reference: Reference) -> str:
    parts = [
        "# Reference",
        "Every public name of `toolkit`, by task.",
        "`python tests/make_reference.py` writes these pages from the docstrings.",
    ]
    for page, (title, sentence, _modules) in PAGES.items():
        parts += [f"## [{title}]({page})", sentence]
        rows = ["| name | |", "|---|---|"]
        for name in reference.names_of(page):
            docstring = reference.objects[name].docstring
            first = docstring.value.partition("\n\n")[0] if docstring else ""
            rows.append(f"| {reference.link(name)} | {reference.prose(first)} |")
        parts.append("\n".join(rows))
    parts.append(f"[Columns and codes]({GLOSSARY}) says what tables hold.")
    return _joined(parts)


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> None:
    """Write the files, and remove those that are none any more."""
    made = pages()
    TARGET.mkdir(exist_ok=True)
    for path in TARGET.iterdir():
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (TARGET / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
