"""Fits heads from the command line: `python -m workflows.constitutional_compliance.training [--corpus FOLDER] [--out FOLDER]`.

Without arguments it makes anew the heads that the program ships, from the part of its corpus that may be fitted to. Heads
with an embedder count on the reader that is shipped, which `reader_training` makes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from workflows.constitutional_compliance import corpus
from workflows.constitutional_compliance.embedding import packaged
from workflows.constitutional_compliance.heads import SHIPPED, Heads, file_name, fit
from workflows.constitutional_compliance.reader import shipped_reader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=corpus.SHIPPED, help="folder of labelled clauses")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder for the fitted heads")
    arguments = parser.parse_args()
    clauses = corpus.fit_part(corpus.read(arguments.corpus))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for embedder in (packaged(), None):
        heads = fit(clauses, embedder, reader=shipped_reader() if embedder else None)
        path = arguments.out / file_name(embedder)
        path.write_bytes(heads.to_bytes())
        print(f"{path}: {len(clauses)} clauses, {path.stat().st_size:,} bytes, {heads.sha256[:12]}")
        print(_thresholds(heads))


def _thresholds(heads: Heads) -> str:
    lines = [
        "principle                violations   honours up to   breaks from   (a clause is cleared up to)"
    ]
    for principle, calibration in heads.calibrations.items():
        says = (
            f"{calibration.below:15.4f} {calibration.above:13.4f} {calibration.clear:13.4f}"
            if calibration.decides
            else "  uncalibrated"
        )
        lines.append(f"{principle:24} {calibration.violations:10} {says}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
