"""Classes per case: probabilities in, pooled scores out."""
