"""What a report tells, before it has a format."""
