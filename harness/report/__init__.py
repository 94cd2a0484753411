"""Telling: results/ to text, tables, galleries and a page.  Needs no model and no torch."""
