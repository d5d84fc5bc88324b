"""The operations: one file each, forward and backward side by side, without state."""
