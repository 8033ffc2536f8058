"""Codabench: the bundle and the scorer inside it."""
