"""Values that were computed elsewhere."""
