"""`stagebench trace`: measure the memory of any command and all its processes."""
