"""Which instance goes on which host: the problem, the solver and what it says."""
