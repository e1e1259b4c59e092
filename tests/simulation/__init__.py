"""Weeks of a shop, simulated: one process, no sockets, no real time, everything decided by one seed.

The toolkit's own code runs as it is: client, reading, planning, delivery, ledger. What surrounds it is
played: time and the order of concurrent work (`world`), Postscript and its people (`postscript`), what goes
wrong (`trouble`), Segment (`segment`), and the analyst (`analyst`). `model` keeps its own account of what
must be true, from Segment's rules alone, and shares no code with the toolkit.
"""
