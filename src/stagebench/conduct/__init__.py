"""`stagebench run`: a study from its plan to its report, and what it shows meanwhile."""
