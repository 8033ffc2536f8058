"""Several labels per case: probabilities in, scores of sets and of every label out."""
