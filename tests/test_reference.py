"""The reference says what the docstrings say, and leads where it points."""

from __future__ import annotations

import logging
import re

import make_reference
import pytest

import toolkit


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return make_reference.pages()


def test_the_reference_is_what_the_docstrings_say(pages):
    """Otherwise: python tests/make_reference.py."""
    kept = {path.name: path.read_text("utf-8") for path in make_reference.TARGET.iterdir()}
    assert sorted(kept) == sorted(pages)
    assert [name for name, text in pages.items() if kept[name] != text] == []


def test_every_public_name_has_its_place(pages):
    """One heading each, and a line in the index."""
    headings = [
        line.removeprefix("## ").removeprefix("class ")
        for name, text in pages.items()
        if name not in {"README.md", make_reference.GLOSSARY}
        for line in text.splitlines()
        if line.startswith("## ")
    ]
    assert sorted(headings) == sorted(make_reference.public_names())
    assert [
        name for name in make_reference.public_names() if f"| [`{name}`](" not in pages["README.md"]
    ] == []


def test_every_link_leads_to_a_heading(pages):
    """File and heading are there, and no two headings of a page have one anchor."""
    anchors = {
        name: [make_reference.anchor(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
        for name, text in pages.items()
    }
    assert [name for name, found in anchors.items() if len(found) != len({*found})] == []
    links = {link for text in pages.values() for link in re.findall(r"\]\(([\w.]+)#([\w-]+)\)", text)}
    assert len(links) > len(toolkit.__all__)
    assert [(page, place) for page, place in links if place not in anchors[page]] == []


def test_what_is_described_is_there(caplog):
    """No docstring tells of a parameter that its function does not have."""
    with caplog.at_level(logging.WARNING):
        make_reference.pages()
    assert caplog.messages == []


def test_nothing_private_is_shown(pages):
    """No name with an underscore before it, and no path of a machine."""
    for text in pages.values():
        assert re.findall(r"(?<!\w)_[a-zA-Z]\w*", text) == []
        assert str(make_reference.PROJECT) not in text
        assert "/home/" not in text
