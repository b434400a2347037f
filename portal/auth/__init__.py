"""Who is asking, and whether they may: passwords, sessions, tokens, guards and protection of forms."""
