"""Fast forms of the network that change no answer, and its precisions; `choose` decides which are used."""
