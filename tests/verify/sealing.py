"""The HTML verifier's security policy names its own script and style by digest: `python -m tests.verify.sealing` renews them."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

FILE = Path(__file__).parents[2] / "static" / "verify" / "acgs-verify.html"


def sealed(html: str) -> str:
    """The page with the digests of its script and style in its policy."""
    digests = {}
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        digests[tag] = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digests['script']}'; style-src 'sha256-{digests['style']}'"
    )
    return re.sub(r"(Content-Security-Policy\" content=\")[^\"]*", lambda found: found[1] + policy, html)


if __name__ == "__main__":
    FILE.write_text(sealed(FILE.read_text("utf-8")), "utf-8")
