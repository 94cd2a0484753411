"""Writing answers: the search, the pool of sequences under way, and the engine that keeps it full."""
