"""The local Postscript: a real HTTP server on loopback, for rehearsals and for tests.

Postscript has no test shop: every key is live and every write reaches a real list. This stand-in
answers on the same paths, keeps the same limit and remembers what it was sent. It never connects
to anything, so nothing it is told can reach a phone.
"""

from toolkit.sandbox.server import Sandbox

__all__ = ["Sandbox"]
