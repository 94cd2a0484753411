"""Decoding: greedy and beam search, the pool of sequences in slots, and the engine that keeps the pool full."""
