"""The bridge to Solana: the Quantumagi client, anchoring, verification, and the program itself."""
