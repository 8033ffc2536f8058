"""What other platforms write and want to read."""
