"""The committed program is what its source builds to, and the linker refuses what a program cannot have."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.transaction import Transaction
from solders.transaction_metadata import TransactionMetadata

from chain.program import build
from chain.program.link import LinkError, link

CLANG = shutil.which("clang-19")


@pytest.fixture(autouse=True)
def clang() -> None:
    """Without clang 19 the source cannot be proven: said aloud on one's own machine, refused where CI runs."""
    if CLANG is None and os.environ.get("CI"):
        pytest.fail("clang-19 is missing: CI must prove that the source builds to the committed program")
    if CLANG is None:
        pytest.skip("clang-19 is missing: NOT PROVEN that the source builds to the committed program")


def test_the_source_builds_to_the_committed_bytes():
    assert build.build() == build.PROGRAM.read_bytes()


def test_the_build_does_not_depend_on_where_it_runs(tmp_path, monkeypatch):
    moved = tmp_path / "some" / "other folder"
    shutil.copytree(build.FOLDER, moved)
    monkeypatch.setattr(build, "FOLDER", moved)
    assert build.build() == build.PROGRAM.read_bytes()


def test_no_path_of_the_building_machine_is_in_the_program():
    program = build.PROGRAM.read_bytes()
    assert str(Path(build.__file__).parent).encode() not in program
    assert b"/home" not in program
    assert b"/usr" not in program


def run_main(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["build", *arguments])
    return build.main()


def test_check_tells_a_program_that_is_not_its_source(tmp_path, monkeypatch, capsys):
    other = tmp_path / "quantumagi.so"
    other.write_bytes(b"another program")
    monkeypatch.setattr(build, "PROGRAM", other)
    assert run_main(monkeypatch, "--check") == 1
    assert "not what the source builds to" in capsys.readouterr().err
    assert other.read_bytes() == b"another program"
    assert run_main(monkeypatch) == 0
    assert run_main(monkeypatch, "--check") == 0


def test_a_source_that_does_not_compile(tmp_path, monkeypatch, capsys):
    broken = tmp_path / "broken.c"
    broken.write_text("this is not C")
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    monkeypatch.setattr(build, "SOURCE", broken)
    assert run_main(monkeypatch) == 2
    assert "error:" in capsys.readouterr().err


def test_a_machine_without_a_compiler(monkeypatch, capsys):
    monkeypatch.setattr(build, "COMPILERS", ("no-such-compiler",))
    assert run_main(monkeypatch) == 2
    assert "install clang 19" in capsys.readouterr().err


def linked(tmp_path: Path, source: str) -> bytes:
    """A source through our compiler options and our linker."""
    (tmp_path / "it.c").write_text(source)
    command = [CLANG, *build.COMPILER_OPTIONS, "-c", "it.c", "-o", "it.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    return link((tmp_path / "it.o").read_bytes())


def run(program: bytes) -> int | None:
    """What a program given no accounts ends with; None for success."""
    svm, address, payer = LiteSVM(), Keypair().pubkey(), Keypair()
    svm.airdrop(payer.pubkey(), 10**9)
    svm.add_program(address, program)
    message = Message.new_with_blockhash(
        [Instruction(address, b"", [])], payer.pubkey(), svm.latest_blockhash()
    )
    outcome = svm.send_transaction(Transaction([payer], message, svm.latest_blockhash()))
    return None if isinstance(outcome, TransactionMetadata) else outcome.err().err.code


NOT_A_PROGRAM = {
    "writable data": ("int n; long entrypoint(char *in) { return n += in[0]; }", "no writable data"),
    "no entry": ("int begin(void) { return 0; }", "no function entrypoint"),
    "an unknown function": ("int puts(char *); int entrypoint(char *in) { return puts(in); }", "puts"),
    "a table of addresses": (
        "int a(void) { return 1; } int (*const t[2])(void) = {a, a}; int entrypoint(long *in) { return t[*in & 1](); }",
        "holds an address",
    ),
    "an unknown constant": ("extern int n; int entrypoint(void) { return n; }", "n is not defined"),
    "nothing to relocate": ("int entrypoint(void) { return 0; }", "empty relocation table"),
    "two code sections": (
        '__attribute__((section("more"))) int f(void) { return 1; } int entrypoint(void) { return 0; }',
        "one code section",
    ),
}


@pytest.mark.parametrize("what", NOT_A_PROGRAM)
def test_the_linker_refuses(tmp_path, what):
    source, reason = NOT_A_PROGRAM[what]
    with pytest.raises(LinkError, match=reason):
        linked(tmp_path, source)


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ('void sol_log_(char *, long); long entrypoint(void) { sol_log_("hello", 5); return 0; }', None),
        # a call forwards, a call backwards, a constant, a constant's middle
        (
            "#define OUT __attribute__((noinline))\n"
            "OUT long later(long *n);\n"
            "OUT static long twice(long n) { return n + n; }\n"
            "static const char words[] = {5, 6, 7, 8};\n"
            "long entrypoint(long *in) { return later(in) + twice(*in + 1) + words[*in + 2] + words[*in]; }\n"
            "OUT long later(long *n) { return *n + 100; }\n",
            100 + 2 + 7 + 5,
        ),
    ],
)
def test_what_the_linker_makes_runs(tmp_path, source, result):
    assert run(linked(tmp_path, source)) == result
