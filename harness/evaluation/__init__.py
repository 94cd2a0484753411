"""Evaluation: from names of tasks and models to runs, for the command line, the gate, the studies and notebooks."""
