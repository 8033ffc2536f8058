"""Every figure of a report: pure functions from a table to a matplotlib figure, one module per kind of question."""
