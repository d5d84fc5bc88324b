"""Max-pooling: the largest pixel of every window; its gradient goes to the first pixel that reached it."""
