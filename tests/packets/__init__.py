"""Packets over lo, on both kernels: the same frames sent, what comes of them compared."""
