"""Numbers: arrays in, arrays out. Numba kernels without I/O, clocks or domain objects."""
