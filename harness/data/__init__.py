"""Reading: one reader to an annotation format, and what must be on disk."""
