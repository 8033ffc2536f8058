"""Numbers per case: values in, errors and agreement out."""
