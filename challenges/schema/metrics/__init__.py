"""The models of metrics, one family a file."""
