"""How tasks of each kind are read, checked, scored and pooled."""
