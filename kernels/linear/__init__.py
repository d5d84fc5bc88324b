"""The dense layer, x @ weight.T + bias, and its gradients."""
