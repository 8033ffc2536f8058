"""grand-challenge: the evaluation container and the scorer inside it."""
