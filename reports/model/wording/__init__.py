"""How things are said: numbers and nouns, names, and the steps of a recipe."""
