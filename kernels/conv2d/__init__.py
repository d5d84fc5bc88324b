"""Two-dimensional convolution: forward, and the gradients of input, weight and bias."""
