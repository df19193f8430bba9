"""What the package costs and how well it does: each prints a table and, last, one JSON line."""
