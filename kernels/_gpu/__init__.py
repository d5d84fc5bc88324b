"""What GPU rungs share: the driver seam, CUDA sources and their device header, recorded steps, precision."""
