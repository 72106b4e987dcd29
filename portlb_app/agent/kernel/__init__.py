"""The kernel interfaces the agents use, each behind functions that return values and raise OSError."""
