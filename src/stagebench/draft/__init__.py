"""A study that is drafted from a script's `Pipeline`."""
