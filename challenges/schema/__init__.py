"""The typed models of a challenge file."""
