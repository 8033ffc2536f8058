"""Transfer suites."""
