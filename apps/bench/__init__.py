"""Benchmarks: minicnn beside PyTorch and ONNX Runtime, and the rungs of each ladder of kernels beside each other."""
