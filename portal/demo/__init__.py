"""Demo mode: personas, policies in every state, and a clock that can jump. Never part of a real deployment."""
