"""`stagebench trace`: the memory of all processes of any command."""
