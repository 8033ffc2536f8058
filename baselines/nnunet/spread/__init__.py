"""Trainings on several GPUs: folds side by side, and one fold on several."""
