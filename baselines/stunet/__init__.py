"""Trainers that nnU-Net loads from outside its own package."""
