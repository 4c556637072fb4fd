"""Code that only a study with published values needs."""
