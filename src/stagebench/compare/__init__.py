"""Studies beside each other: archives, records of other tools, and what differs between them."""
