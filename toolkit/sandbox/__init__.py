"""The local Postscript: a real HTTP server on loopback, for rehearsals and for tests.

Postscript has no test shop: every key is live and every write reaches a real list. This stand-in
answers on the same paths, keeps the same limit and remembers what it was sent. It never connects
to anything, so nothing that it receives can reach a phone.

Where Postscript's pages leave a question open, a knob answers it (``Knobs``, and whole sets of them in
``PROFILES``); what can go wrong on the way is a ``Fault``. Both can be set at any time. A sandbox in a
process of its own is looked into by HTTP:

=====================================  =======================================
``GET /control/journal``               every API request so far
``GET`` and ``POST .../subscribers``   all subscribers as NDJSON; late sign-ups
``GET .../custom_events``              the accepted custom events
=====================================  =======================================
"""

from .options import PROFILES, Fault, Knobs
from .server import Sandbox

__all__ = ["PROFILES", "Fault", "Knobs", "Sandbox"]
