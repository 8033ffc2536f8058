"""Which figures the results support."""
