"""Boxes, masks and polygons, in pixels of the original image."""
