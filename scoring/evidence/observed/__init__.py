"""Evidence from observations: confusions, curves, calibration, places of options and hard questions."""
