"""Risks of an event: risks in, concordance out."""
