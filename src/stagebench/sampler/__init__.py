"""The memory sampler: sweeps over a process tree, and a census of its processes."""
