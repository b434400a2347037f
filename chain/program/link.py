"""Link one relocatable BPF object, as a stock clang writes it, into the sBPF v0 shared object that Solana loads.

Solana's loader wants less than a linker gives and something no stock linker gives: every address in the code
relocated as relative, and every system call as a symbol by name. The file is laid out so that each byte's address
is its offset. README.md draws it.
"""

import struct
from dataclasses import dataclass, field

# ELF, the parts met here (System V ABI; symbols' and relocations' kinds are BPF's).
SECTION_PROGBITS, SECTION_SYMTAB, SECTION_STRTAB = 1, 2, 3
SECTION_DYNAMIC, SECTION_REL, SECTION_DYNSYM = 6, 9, 11
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
FILE_HEADER_SIZE, SEGMENT_HEADER_SIZE, SECTION_HEADER_SIZE = 64, 56, 64
SEGMENTS, DYNAMIC_ENTRIES = 4, 11
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


@dataclass(frozen=True)
class Part:
    """One section of the output; `at` is its offset in the file, and its address when it is allocated."""

    name: str
    kind: int
    flags: int
    at: int
    data: bytes
    link: int = 0
    info: int = 0
    alignment: int = 8
    entry_size: int = 0

    @property
    def end(self) -> int:
        return self.at + len(self.data)

    def header(self, name: int) -> bytes:
        address = self.at if self.flags & FLAG_ALLOC else 0
        place = (address, self.at, len(self.data), self.link, self.info, self.alignment, self.entry_size)
        return struct.pack(SECTION_HEADER, name, self.kind, self.flags, *place)


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
    row_offsets = range(table, table + count * SECTION_HEADER_SIZE, SECTION_HEADER_SIZE)
    rows = [struct.unpack_from(SECTION_HEADER, relocatable, offset) for offset in row_offsets]
    names = relocatable[rows[names_index][4] :]
    sections = [
        Section(_string(names, name), kind, flags, link_, info, alignment, relocatable[at : at + size])
        for name, kind, flags, _, at, size, link_, info, alignment, _ in rows
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
    text_at = FILE_HEADER_SIZE + SEGMENTS * SEGMENT_HEADER_SIZE
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
            if kind == RELOCATE_ADDRESS and symbol.section not in addresses:
                raise LinkError(f"{symbol.name} is not defined")
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
    """The file: header, segments, the sections each at the offset that is its address, section headers."""
    code = FLAG_ALLOC | FLAG_EXECUTE
    parts = [
        Part(".text", SECTION_PROGBITS, code, image.text_at, bytes(image.text)),
        Part(
            ".rodata", SECTION_PROGBITS, FLAG_ALLOC, image.constants_at, bytes(image.constants), alignment=16
        ),
        *dynamic_parts(image),
    ]
    segments = [
        _segment(SEGMENT_LOAD, READ_EXECUTE, parts[0], parts[0]),
        _segment(SEGMENT_LOAD, READ, parts[1], parts[1]),
        _segment(SEGMENT_LOAD, READ, parts[2], parts[-1]),
        _segment(SEGMENT_DYNAMIC, READ, parts[2], parts[2], alignment=8),
    ]
    names, name_offsets = _strings([*(part.name for part in parts), ".shstrtab"])
    parts.append(Part(".shstrtab", SECTION_STRTAB, 0, parts[-1].end, names, alignment=1))
    table_at = _aligned(parts[-1].end, 8)
    header = struct.pack(
        FILE_HEADER,
        *(b"\x7fELF\x02\x01\x01", TYPE_SHARED, MACHINE_BPF, 1, image.entry, FILE_HEADER_SIZE, table_at, 0),
        *(FILE_HEADER_SIZE, SEGMENT_HEADER_SIZE, len(segments)),
        *(SECTION_HEADER_SIZE, len(parts) + 1, len(parts)),
    )
    file = bytearray(header + b"".join(segments)).ljust(table_at, b"\0")
    for part in parts:
        file[part.at : part.end] = part.data
    table = [part.header(name) for part, name in zip(parts, name_offsets, strict=True)]
    return bytes(file) + bytes(SECTION_HEADER_SIZE) + b"".join(table)


def dynamic_parts(image: Image) -> list[Part]:
    """What the loader reads: a table of tables, symbols, their names, relocations."""
    names, (entry_name, *import_names) = _strings([ENTRYPOINT, *image.imports])
    symbols = [bytes(struct.calcsize(SYMBOL))]  # the first is always empty
    symbols.append(struct.pack(SYMBOL, entry_name, SYMBOL_GLOBAL_FUNCTION, 0, 1, image.entry, 0))
    symbols += [struct.pack(SYMBOL, name, SYMBOL_GLOBAL, 0, 0, 0, 0) for name in import_names]
    relocations = b"".join(
        struct.pack(RELOCATION, address, symbol << 32 | kind) for address, kind, symbol in image.relocations
    )

    dynamic_at = _aligned(image.constants_at + len(image.constants), 16)
    symbols_at = dynamic_at + DYNAMIC_ENTRIES * struct.calcsize(DYNAMIC)
    names_at = symbols_at + sum(map(len, symbols))
    relocations_at = _aligned(names_at + len(names), 8)
    dynamic = [
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
    assert len(dynamic) == DYNAMIC_ENTRIES
    tags = b"".join(struct.pack(DYNAMIC, *entry) for entry in dynamic)
    return [
        Part(".dynamic", SECTION_DYNAMIC, FLAG_ALLOC, dynamic_at, tags, link=5, entry_size=16),
        Part(
            ".dynsym",
            SECTION_DYNSYM,
            FLAG_ALLOC,
            symbols_at,
            b"".join(symbols),
            link=5,
            info=1,
            entry_size=24,
        ),
        Part(".dynstr", SECTION_STRTAB, FLAG_ALLOC, names_at, names, alignment=1),
        Part(".rel.dyn", SECTION_REL, FLAG_ALLOC, relocations_at, relocations, link=4, entry_size=16),
    ]


def _segment(kind: int, access: int, first: Part, last: Part, alignment: int = 0x1000) -> bytes:
    """The program header of the bytes from one part to another."""
    at, size = first.at, last.end - first.at
    return struct.pack(SEGMENT_HEADER, kind, access, at, at, at, size, size, alignment)


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
