"""Lesions: connected components of reference and prediction, how they are matched, and what that is worth."""
