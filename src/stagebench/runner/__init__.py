"""The workflow runner: stages over thread or process pools, a record per task and stage."""
