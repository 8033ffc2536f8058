"""What a file, a case, a team and a column may be called, and how patterns turn into names: every room asks here."""
