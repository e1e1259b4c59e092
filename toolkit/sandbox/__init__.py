"""The local Postscript: a real HTTP server on loopback, for rehearsals and for tests.

Postscript has no test shop: every key is live and every write reaches a real list. This stand-in
answers on the same paths, keeps the same limit and remembers what it was sent. It never connects
to anything, so nothing that it receives can reach a phone.

Where Postscript's pages leave a question open, a knob answers it (``Knobs``, and whole sets of them in
``PROFILES``); what can go wrong on the way is a ``Fault``. Both can be set at any time, from Python or
under ``/control/``:

=============================  ==============================================================
``GET PUT knobs``              all knobs; a change of some
``GET PUT DELETE faults``      a JSON list of faults, in place of all others
``GET journal``                every API request so far
``GET POST subscribers``       all subscribers as NDJSON; late sign-ups
``GET custom_events``          the accepted custom events
``POST reset``                 back to the start
``POST snapshot``, restore     keep what the shop holds; hold it again
``POST revoke``                ``{"key": ...}`` opens nothing any more
``GET POST clock``             ``{"advance": seconds}`` puts the clock forward
``GET openapi.json``           the API as an OpenAPI document
=============================  ==============================================================
"""

from .options import PROFILES, Fault, Knobs
from .server import Sandbox

__all__ = ["PROFILES", "Fault", "Knobs", "Sandbox"]
