"""Long sequences of tokens, and which class they are of."""
