"""Models that answer: conversations as tokens, instructions of our own, and training on the answers alone."""
