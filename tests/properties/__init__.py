"""Random cases for the property tests: operations.py draws shapes, options and numbers, layouts.py places in memory."""
