"""Every reader of bytes from outside, given bytes that were made to break it: `python -m tests.fuzz --help`."""
