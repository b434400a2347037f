"""The bridge to Solana: the Quantumagi client, anchoring, verification, and the program itself."""

import sys

# anchorpy imports pytest where that is installed, which costs every start a second. It copes without.
sys.modules.setdefault("anchorpy.pytest_plugin", None)  # type: ignore[arg-type]
