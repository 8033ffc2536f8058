"""From a submission to its predictions: run, watch, collect."""
