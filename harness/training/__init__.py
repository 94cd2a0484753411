"""Teaching: the data it reads, the loss, the loop and the recipes."""
