"""From a family of metrics and two masks to a number: a module per family that has parameters of its own."""
