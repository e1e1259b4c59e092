"""Tables, charts and the audit document: what a run looks like to people.

Everything that came from events or from Postscript is escaped before it reaches HTML.
"""
