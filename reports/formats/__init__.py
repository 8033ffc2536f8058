"""The document in every format."""
