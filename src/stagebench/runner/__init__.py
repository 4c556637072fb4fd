"""The workflow runner: stages with pools of workers, and a record for each task and stage."""
