"""Florence-2 in plain PyTorch: network, checkpoints, prompts, decoding, and parsing of answers."""
