"""Batch normalization of (N, C, L) arrays: over the batch in training, with given statistics in evaluation."""
