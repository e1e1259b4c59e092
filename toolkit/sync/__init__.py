"""Plan a sync, price it, deliver it, undo it, repair drift."""
