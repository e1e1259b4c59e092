"""Liquid templates as Segment takes them: a part of the language, within limits.

Parsed by python-liquid, rendered as Segment's engine does; docs/design/mapping.md lists what is supported.
There is no file access, no clock and no chance, and nothing of Python shows.
"""

from .template import TemplateError, compile_template

__all__ = ["TemplateError", "compile_template"]
