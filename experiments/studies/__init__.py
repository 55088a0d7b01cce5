"""Studies: each is a list of cells, and a reader of their rows."""
