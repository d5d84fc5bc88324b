"""The live demo as a page on this machine: `minicnn camera --web`."""
