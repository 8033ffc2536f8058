"""A starter kit for participants."""
