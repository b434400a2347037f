"""A Solana chain for one machine: LiteSVM behind JSON-RPC and WebSocket, with a ledger that survives kill -9."""
