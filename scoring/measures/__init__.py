"""From two label arrays to numbers: arrays in, numbers out."""
