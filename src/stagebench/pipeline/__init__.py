"""Functions in a row as one line of Python, on the workflow runner."""
