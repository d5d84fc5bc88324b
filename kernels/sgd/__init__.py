"""One step of stochastic gradient descent with momentum, in place."""
