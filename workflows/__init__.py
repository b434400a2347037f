"""The governance core: rules, state and records, knowing nothing of HTTP, Redis or Solana."""
