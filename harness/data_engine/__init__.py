"""The data engine: models annotate images, filters decide what is kept, and nothing is deleted.

The method is that of FLD-5B (arXiv:2311.06242v1, section 4).  `records` has the types that all modules share.
"""
