"""Everything that speaks HTTP, and the composition root: this package alone knows core, chain and web."""
