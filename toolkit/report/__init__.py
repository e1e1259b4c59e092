"""Tables, charts and the audit document: what a run looks like to people.

Everything that came from events or from Postscript is escaped before it reaches HTML.
"""

import lazy_loader

# The names are in __init__.pyi; the document's Jinja waits until a document is made.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
