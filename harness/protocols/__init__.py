"""Evaluation protocols: zero-shot, fine-tuned, and the studies of the paper on small models."""
