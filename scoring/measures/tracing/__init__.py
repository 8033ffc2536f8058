"""Finding the surfaces of all structures of a label volume in one pass."""
