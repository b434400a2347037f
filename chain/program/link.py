"""Link one relocatable BPF object, as a stock clang writes it, into the sBPF v0 shared object that Solana loads.

Solana's loader wants less than a linker gives and something no stock linker gives: every address in the code
relocated as relative, and every system call as a symbol by name. The file is laid out so that each byte's address
is its offset. README.md draws it.
"""

import struct
from dataclasses import dataclass, field

# ELF, the parts met here (System V ABI; the numbers below 0x100 are the BPF ABI's).
SECTION_PROGBITS, SECTION_SYMTAB, SECTION_STRTAB, SECTION_DYNAMIC, SECTION_REL, SECTION_DYNSYM = (
    1,
    2,
    3,
    6,
    9,
    11,
)
FLAG_WRITE, FLAG_ALLOC, FLAG_EXECUTE = 1, 2, 4
SEGMENT_LOAD, SEGMENT_DYNAMIC = 1, 2
READ, READ_EXECUTE = 4, 5
TAG_END, TAG_STRTAB, TAG_SYMTAB, TAG_STRSZ, TAG_SYMENT = 0, 5, 6, 10, 11
TAG_REL, TAG_RELSZ, TAG_RELENT, TAG_TEXTREL, TAG_FLAGS, TAG_RELCOUNT = 17, 18, 19, 22, 30, 0x6FFFFFFA
FLAG_TEXTREL = 4
TYPE_SHARED, MACHINE_BPF = 3, 247
SYMBOL_SECTION, SYMBOL_GLOBAL, SYMBOL_GLOBAL_FUNCTION = 3, 0x10, 0x12
RELOCATE_ADDRESS, RELOCATE_RELATIVE, RELOCATE_CALL = 1, 8, 10

FILE_HEADER, SEGMENT_HEADER, SECTION_HEADER = "<16sHHIQQQIHHHHHH", "<IIQQQQQQ", "<IIQQQQIIQQ"
SYMBOL, RELOCATION, DYNAMIC = "<IBBHQQ", "<QQ", "<QQ"
INSTRUCTION_SIZE = 8
ENTRYPOINT = "entrypoint"


class LinkError(Exception):
    """The object holds something that a Solana program cannot have."""


@dataclass(frozen=True)
class Section:
    name: str
    kind: int
    flags: int
    link: int
    info: int
    alignment: int
    data: bytes


@dataclass(frozen=True)
class Symbol:
    name: str
    kind: int
    section: int
    value: int


@dataclass
class Image:
    """Code and constants at their final addresses, and what the loader has still to fill in."""

    text: bytearray
    text_at: int
    constants: bytearray
    constants_at: int
    entry: int = 0
    imports: list[str] = field(default_factory=list)
    relocations: list[tuple[int, int, int]] = field(default_factory=list)  # address, kind, dynamic symbol


def link(relocatable: bytes) -> bytes:
    """The shared object for one ELF64 relocatable BPF object; LinkError when it cannot become a program."""
    sections, symbols = read_object(relocatable)
    image, addresses = place(sections)
    relocate(image, sections, symbols, addresses)
    return write_shared_object(image)


def read_object(relocatable: bytes) -> tuple[list[Section], list[Symbol]]:
    """The sections and the symbols of an object, each in the object's own order."""
    header = struct.unpack_from(FILE_HEADER, relocatable)
    table, count, names_index = header[6], header[12], header[13]
    rows = [struct.unpack_from(SECTION_HEADER, relocatable, table + 64 * i) for i in range(count)]
    names = relocatable[rows[names_index][4] :]
    sections = [
        Section(
            _string(names, name), kind, flags, link_, info, alignment, relocatable[offset : offset + size]
        )
        for name, kind, flags, _, offset, size, link_, info, alignment, _ in rows
    ]
    symtab = next(s for s in sections if s.kind == SECTION_SYMTAB)
    names = sections[symtab.link].data
    symbols = [
        Symbol(_string(names, name), info & 0xF, section, value)
        for name, info, _, section, value, _ in struct.iter_unpack(SYMBOL, symtab.data)
    ]
    return sections, symbols


def place(sections: list[Section]) -> tuple[Image, dict[int, int]]:
    """The code, then every constant section behind it; the addresses are by section number."""
    held = {i: s for i, s in enumerate(sections) if s.flags & FLAG_ALLOC and s.data}
    for section in held.values():
        if section.flags & FLAG_WRITE:
            raise LinkError(f"{section.name}: a program has no writable data")
    code = [i for i, s in held.items() if s.flags & FLAG_EXECUTE]
    if len(code) != 1:
        raise LinkError(f"one code section expected, found {len(code)}")

    text = bytearray(sections[code[0]].data)
    text_at = struct.calcsize(FILE_HEADER) + 4 * struct.calcsize(SEGMENT_HEADER)
    constants_at = _aligned(text_at + len(text), 16)
    addresses, constants = {code[0]: text_at}, bytearray()
    for i, section in held.items():
        if i not in addresses:
            constants += bytes(_aligned(len(constants), section.alignment) - len(constants))
            addresses[i] = constants_at + len(constants)
            constants += section.data
    return Image(text, text_at, constants, constants_at), addresses


def relocate(image: Image, sections: list[Section], symbols: list[Symbol], addresses: dict[int, int]) -> None:
    """Settle every reference: calls within the code now, addresses and system calls as work for the loader."""
    for section in sections:
        if section.kind != SECTION_REL or section.info not in addresses:
            continue
        if addresses[section.info] != image.text_at:
            raise LinkError(f"{section.name}: a constant that holds an address is not supported")
        for offset, info in struct.iter_unpack(RELOCATION, section.data):
            symbol, kind = symbols[info >> 32], info & 0xFFFFFFFF
            if kind == RELOCATE_ADDRESS:
                _relocate_address(image, offset, addresses[symbol.section] + symbol.value)
            elif kind == RELOCATE_CALL and symbol.section == 0:
                _relocate_system_call(image, offset, symbol.name)
            elif kind == RELOCATE_CALL:
                _relocate_call(image, offset, symbol)
            else:
                raise LinkError(f"relocation of kind {kind} is not supported")
    entry = next((s for s in symbols if s.name == ENTRYPOINT), None)
    if entry is None or entry.section == 0:
        raise LinkError(f"no function {ENTRYPOINT}")
    if not image.relocations:
        raise LinkError("the loader takes no program with an empty relocation table")
    image.entry = image.text_at + entry.value


def _relocate_address(image: Image, offset: int, address: int) -> None:
    """A 64-bit load is two instructions, each with half of the value; the loader adds where it puts the program."""
    (addend,) = struct.unpack_from("<I", image.text, offset + 4)
    struct.pack_into("<I", image.text, offset + 4, address + addend)
    struct.pack_into("<I", image.text, offset + INSTRUCTION_SIZE + 4, 0)
    image.relocations.append((image.text_at + offset, RELOCATE_RELATIVE, 0))


def _relocate_system_call(image: Image, offset: int, name: str) -> None:
    if not name.startswith("sol_"):
        raise LinkError(f"{name} is neither defined nor a system call")
    if name not in image.imports:
        image.imports.append(name)
    image.text[offset + 1] = 0x10  # a call by immediate, as the loader expects it before it fills in the hash
    struct.pack_into("<i", image.text, offset + 4, -1)
    image.relocations.append((image.text_at + offset, RELOCATE_CALL, 2 + image.imports.index(name)))


def _relocate_call(image: Image, offset: int, symbol: Symbol) -> None:
    """A call's distance counts instructions from the next one; clang keeps the target of a static function there."""
    target = symbol.value
    if symbol.kind == SYMBOL_SECTION:
        (distance,) = struct.unpack_from("<i", image.text, offset + 4)
        target += (distance + 1) * INSTRUCTION_SIZE
    struct.pack_into("<i", image.text, offset + 4, (target - offset) // INSTRUCTION_SIZE - 1)


def write_shared_object(image: Image) -> bytes:
    """The file: headers, code, constants, the dynamic tables the loader reads, section headers."""
    names, name_offsets = _strings([ENTRYPOINT, *image.imports])
    symbols = bytes(struct.calcsize(SYMBOL)) + struct.pack(
        SYMBOL, name_offsets[0], SYMBOL_GLOBAL_FUNCTION, 0, 1, image.entry, 0
    )
    for offset in name_offsets[1:]:
        symbols += struct.pack(SYMBOL, offset, SYMBOL_GLOBAL, 0, 0, 0, 0)
    relocations = b"".join(
        struct.pack(RELOCATION, address, symbol << 32 | kind) for address, kind, symbol in image.relocations
    )

    dynamic_at = _aligned(image.constants_at + len(image.constants), 16)
    symbols_at = dynamic_at + 11 * struct.calcsize(DYNAMIC)
    names_at = symbols_at + len(symbols)
    relocations_at = _aligned(names_at + len(names), 8)
    end = relocations_at + len(relocations)
    dynamic = b"".join(
        struct.pack(DYNAMIC, tag, value)
        for tag, value in [
            (TAG_FLAGS, FLAG_TEXTREL),
            (TAG_REL, relocations_at),
            (TAG_RELSZ, len(relocations)),
            (TAG_RELENT, struct.calcsize(RELOCATION)),
            (TAG_RELCOUNT, sum(kind == RELOCATE_RELATIVE for _, kind, _ in image.relocations)),
            (TAG_SYMTAB, symbols_at),
            (TAG_SYMENT, struct.calcsize(SYMBOL)),
            (TAG_STRTAB, names_at),
            (TAG_STRSZ, len(names)),
            (TAG_TEXTREL, 0),
            (TAG_END, 0),
        ]
    )

    titles, title_offsets = _strings(
        [".text", ".rodata", ".dynamic", ".dynsym", ".dynstr", ".rel.dyn", ".shstrtab"]
    )
    table_at = _aligned(end + len(titles), 8)
    # name, kind, flags, address, offset, size, link, info, alignment, entry size
    text, constants = (image.text_at, len(image.text)), (image.constants_at, len(image.constants))
    code = FLAG_ALLOC | FLAG_EXECUTE
    table = [
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (title_offsets[0], SECTION_PROGBITS, code, text[0], *text, 0, 0, 8, 0),
        (title_offsets[1], SECTION_PROGBITS, FLAG_ALLOC, constants[0], *constants, 0, 0, 16, 0),
        (title_offsets[2], SECTION_DYNAMIC, FLAG_ALLOC, dynamic_at, dynamic_at, len(dynamic), 5, 0, 8, 16),
        (title_offsets[3], SECTION_DYNSYM, FLAG_ALLOC, symbols_at, symbols_at, len(symbols), 5, 1, 8, 24),
        (title_offsets[4], SECTION_STRTAB, FLAG_ALLOC, names_at, names_at, len(names), 0, 0, 1, 0),
        (
            title_offsets[5],
            SECTION_REL,
            FLAG_ALLOC,
            relocations_at,
            relocations_at,
            len(relocations),
            4,
            0,
            8,
            16,
        ),
        (title_offsets[6], SECTION_STRTAB, 0, 0, end, len(titles), 0, 0, 1, 0),
    ]
    segments = [
        (SEGMENT_LOAD, READ_EXECUTE, *text, 0x1000),
        (SEGMENT_LOAD, READ, *constants, 0x1000),
        (SEGMENT_LOAD, READ, dynamic_at, end - dynamic_at, 0x1000),
        (SEGMENT_DYNAMIC, READ, dynamic_at, len(dynamic), 8),
    ]

    file = bytearray(table_at)
    struct.pack_into(
        FILE_HEADER,
        file,
        0,
        b"\x7fELF\x02\x01\x01",
        *(TYPE_SHARED, MACHINE_BPF, 1, image.entry, struct.calcsize(FILE_HEADER), table_at),
        *(0, 64, 56, len(segments), 64, len(table), len(table) - 1),
    )
    for i, (kind, access, at, size, alignment) in enumerate(segments):
        struct.pack_into(SEGMENT_HEADER, file, 64 + 56 * i, kind, access, at, at, at, size, size, alignment)
    for at, content in [
        (image.text_at, image.text),
        (image.constants_at, image.constants),
        (dynamic_at, dynamic),
        (symbols_at, symbols),
        (names_at, names),
        (relocations_at, relocations),
        (end, titles),
    ]:
        file[at : at + len(content)] = content
    return bytes(file) + b"".join(struct.pack(SECTION_HEADER, *row) for row in table)


def _strings(names: list[str]) -> tuple[bytes, list[int]]:
    """An ELF string table and where in it each name starts."""
    table, offsets = b"\0", []
    for name in names:
        offsets.append(len(table))
        table += name.encode() + b"\0"
    return table, offsets


def _string(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()


def _aligned(position: int, alignment: int) -> int:
    return -(-position // max(alignment, 1)) * max(alignment, 1)
