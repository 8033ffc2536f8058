"""Synapse: validation and scoring in the ORCA convention."""
