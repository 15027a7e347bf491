"""One file for each published table, with its numbers, claims and grids."""
