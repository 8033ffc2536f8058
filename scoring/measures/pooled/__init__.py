"""Metrics over many cases as functions of case weights: labels, curves and confidence; arrays in, numbers out."""
