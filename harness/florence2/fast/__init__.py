"""Faster forms of the network that change no answer, and the precisions it runs in."""
