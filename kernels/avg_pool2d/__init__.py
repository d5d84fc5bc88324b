"""Average pooling: the mean of every window."""
