"""Evaluation: builds runs from names of tasks and models, for the command line, the gate, the studies and notebooks."""
