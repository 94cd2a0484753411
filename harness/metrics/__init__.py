"""From scored rows to the metrics that papers report."""
