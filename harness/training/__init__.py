"""Training: data, losses, the training loop and the recipes."""
