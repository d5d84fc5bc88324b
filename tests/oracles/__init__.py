"""Outside authorities that minicnn is held against."""
