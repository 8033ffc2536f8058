"""A small synthetic challenge."""
