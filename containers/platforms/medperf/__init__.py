"""MedPerf: the evaluator container and the scorer inside it."""
