"""How a model comes to a benchmark: as it is, or fine-tuned on the benchmark's training data first."""
