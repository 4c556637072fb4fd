"""Analysis: run folders → tables."""
