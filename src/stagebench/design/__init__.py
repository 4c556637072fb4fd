"""Design: from a config to a checked study, its treatments, its runs and its plan."""
