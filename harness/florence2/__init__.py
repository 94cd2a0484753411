"""Florence-2 in plain PyTorch: the network, its weights, its prompts, its decoding and its answers."""
