"""Other libraries' functions under their names: one changed import line, the same values, this engine."""
