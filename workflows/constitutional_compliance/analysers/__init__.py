"""The analysers: each reads the same passages in a way of its own, and says what it found, or why it could not."""
