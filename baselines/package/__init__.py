"""A trained baseline as a container image."""
