"""What was claimed: one file for each published table, with its numbers, its claims and its grids."""
