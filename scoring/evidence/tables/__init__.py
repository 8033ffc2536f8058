"""The evidence of a ranking as tables: planned, collected, described, written."""
