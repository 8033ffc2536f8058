"""What a reference method does."""
