"""Reporting: renders results/ as text, tables, figures, galleries and a page.  Needs no model and no torch."""
