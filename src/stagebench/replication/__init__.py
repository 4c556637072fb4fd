"""What only a study with published values needs."""
