"""Segment Engage audiences to Postscript: preview, validate, plan, sync, audit."""

import lazy_loader

# The names are in __init__.pyi. Each is imported when it is first used: a command line that only
# shows its help, or a look at one event, does not wait for pandas, SQLAlchemy and the widgets.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
