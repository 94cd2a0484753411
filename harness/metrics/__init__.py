"""Marking: from rows to the numbers that papers quote."""
