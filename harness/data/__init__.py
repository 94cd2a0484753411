"""Readers of annotation formats, one for each, and what must be on disk."""
