"""Measure two masks in one line: no challenge file, the engine's own functions."""
