"""Tables of a study: what can be measured, the schema of every CSV, reading and writing."""
