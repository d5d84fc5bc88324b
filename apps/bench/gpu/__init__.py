"""`minicnn bench gpu`: all that a machine with a GPU is needed for, in one run of under nine minutes."""
