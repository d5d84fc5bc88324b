"""What the CPU rungs share: compiling, memory, the micro-kernel and the Winograd transforms."""
