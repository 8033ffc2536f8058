"""Other people's tables and data sets, in and out."""
