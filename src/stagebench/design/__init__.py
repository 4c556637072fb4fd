"""Design: a config becomes a checked study, its treatments, its runs and the plan of them."""
