"""Trained models: those of this workspace and adopted ones, and their predictions."""
