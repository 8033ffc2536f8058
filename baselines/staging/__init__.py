"""A baseline for staging tasks."""
