"""The gate: promises about a model, and a verdict on each."""
