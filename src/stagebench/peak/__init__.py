"""The bracket around a peak of memory: lower and upper bounds of every state between two sweeps."""
