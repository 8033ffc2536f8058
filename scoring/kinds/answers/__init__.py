"""Answers to questions: replies in, what is right, consistent and calibrated out."""
