"""Latency and throughput, by rules that can be defended."""
