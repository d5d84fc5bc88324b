"""Faults done to the programs on purpose: each must cost no more than one clear line, and no result.

`python -m tests.faults` does them all, and counts: see docs/explanation/reliability.md.
"""
