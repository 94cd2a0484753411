"""Latency and throughput: scenarios, peers, stages, ceilings, and the rules that make a measurement valid."""
