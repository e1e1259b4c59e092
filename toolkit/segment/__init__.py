"""Segment's rules: events, triggers, mappings, the destination's actions, archives and member lists."""
