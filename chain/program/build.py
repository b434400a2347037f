"""Build the Quantumagi program from its C source: `python -m chain.program.build [--check]`.

The build is deterministic: the same clang gives the same bytes wherever it runs. `--check` builds, compares with the
committed `quantumagi.so` and changes nothing.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from chain.program.link import LinkError, link

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "quantumagi.c"
PROGRAM = FOLDER / "quantumagi.so"

COMPILERS = (
    "clang-19",
    "clang",
)  # the committed bytes are clang 19's; another one gives other, working, bytes
COMPILER_OPTIONS = (
    *("-target", "bpf", "-mcpu=v2", "-std=c17", "-Os"),
    *("-Wall", "-Wextra", "-Werror"),
    *("-ffreestanding", "-fno-builtin", "-fno-ident"),
    "-fno-jump-tables",  # a table of addresses would be a constant that the loader has to relocate
    *("-mllvm", "-bpf-stack-size=4096"),  # sBPF gives each function 4096 bytes of stack, BPF only 512
)


class BuildError(Exception):
    """The program could not be built; the text says why."""


def compiler() -> str | None:
    """The path of the clang to build with, or None where there is none."""
    return next((path for name in COMPILERS if (path := shutil.which(name))), None)


def build() -> bytes:
    """The program's shared object, made anew from the source."""
    clang = compiler()
    if clang is None:
        raise BuildError(f"no compiler: install clang 19 (looked for {', '.join(COMPILERS)})")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "quantumagi.o"
        # The source is named without its folder, so that no path of this machine can reach the object.
        command = [clang, *COMPILER_OPTIONS, "-c", SOURCE.name, "-o", str(output)]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(done.stderr)
        return link(output.read_bytes())


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m chain.program.build", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--check", action="store_true", help="compare with the committed bytes, write nothing"
    )
    check = parser.parse_args().check
    try:
        program = build()
    except (BuildError, LinkError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{PROGRAM.name}: {len(program)} bytes, SHA-256 {sha256(program).hexdigest()}")
    if not check:
        PROGRAM.write_bytes(program)
    elif program != PROGRAM.read_bytes():
        print(f"{PROGRAM.name} is not what the source builds to", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
