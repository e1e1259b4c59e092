"""Postscript's API: its calls as data, the client, the rate limit, and subscribers as a table."""
