"""Inverted dropout: set a share p of the elements to zero and scale up the others."""
