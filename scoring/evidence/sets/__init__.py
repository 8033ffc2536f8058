"""Sets of ranks that the data cannot exclude: how they are built, and for which recipes they are guaranteed."""
