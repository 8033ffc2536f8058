"""From scores to one array with the policy applied, and from there to a ranking."""
