"""Readers of annotation formats, one for each, and what must be on disk."""

DATA_VARIABLE = "FLORENCE2_HARNESS_DATA"  # the environment variable of the data root
