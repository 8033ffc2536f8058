"""An interval for every number that is printed of a submission: which kind for which number, and its ends."""
