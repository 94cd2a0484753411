"""Promises about a model, and the verdict on each."""
