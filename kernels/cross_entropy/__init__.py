"""Softmax and cross-entropy in one: the loss of each row of logits against a row of target weights."""
