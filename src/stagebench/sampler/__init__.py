"""The memory sampler: sweeps over a process tree, read from /proc."""
