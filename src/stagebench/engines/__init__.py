"""Other libraries that run a workflow's stages in the runner's place, with the same records."""
