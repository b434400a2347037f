"""The log over HTTP as C2SP tlog-tiles says: read by a small client written from the specification alone."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from litestar import Litestar

from tests.portal.the_log import LOG_ORIGIN, happen, seal
from workflows.audit_transparency.archive import tile_name
from workflows.storage.tables import audit_entry

IMMUTABLE = "public, max-age=31536000, immutable"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


# A client of its own: nothing of ours, only the C2SP texts and RFC 6962


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _mth(hashes: list[bytes]) -> bytes:
    """RFC 6962 § 2.1, as it is defined there."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while 2 * k < len(hashes):
        k *= 2
    return _sha256(b"\x01" + _mth(hashes[:k]) + _mth(hashes[k:]))


def _n(index: int) -> str:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([f"x{group}" for group in groups[:-1]] + [groups[-1]])


class Reader:
    """Reads a log that it trusts in nothing but its verifier key."""

    def __init__(self, client: httpx.AsyncClient, vkey: str) -> None:
        self.client = client
        self.origin, id_hex, packed = vkey.split("+", 2)
        self.key = base64.b64decode(packed)
        assert self.key[0] == 1
        self.id = _sha256(self.origin.encode() + b"\n" + self.key)[:4]
        assert self.id.hex() == id_hex

    async def checkpoint(self) -> tuple[int, bytes]:
        note = (await self._get("checkpoint", "text/plain; charset=utf-8")).decode()
        text, _, signatures = note.rpartition("\n\n")
        text += "\n"
        mine = [line.split(" ")[2] for line in signatures.splitlines() if line.split(" ")[1] == self.origin]
        (signature,) = (base64.b64decode(item) for item in mine)
        assert signature[:4] == self.id
        Ed25519PublicKey.from_public_bytes(self.key[1:]).verify(signature[4:], text.encode())
        origin, size, root = text.splitlines()
        assert origin == self.origin
        return int(size), base64.b64decode(root)

    async def tile(self, level: int, index: int, width: int) -> list[bytes]:
        body = await self._get(f"tile/{level}/{_n(index)}{_p(width)}", "application/octet-stream")
        assert len(body) == 32 * width
        return [body[at : at + 32] for at in range(0, len(body), 32)]

    async def entries(self, index: int, width: int) -> list[bytes]:
        body = io.BytesIO(await self._get(f"tile/entries/{_n(index)}{_p(width)}", "application/octet-stream"))
        found = []
        while head := body.read(2):
            found.append(body.read(int.from_bytes(head, "big")))
        assert len(found) == width
        return found

    async def audit(self) -> list[bytes]:
        """Every entry, after all levels of tiles were held against the checkpoint and one another."""
        size, root = await self.checkpoint()
        leaves = [item for at, width in _spans(size) for item in await self.tile(0, at, width)]
        assert _mth(leaves) == root
        level, below, count = 1, leaves, size // 256
        while count:
            row = [item for at, width in _spans(count) for item in await self.tile(level, at, width)]
            assert row == [_mth(below[at : at + 256]) for at in range(0, count * 256, 256)]
            level, below, count = level + 1, row, count // 256
        entries = [item for at, width in _spans(size) for item in await self.entries(at, width)]
        assert [_sha256(b"\x00" + item) for item in entries] == leaves
        return entries

    async def _get(self, path: str, media_type: str) -> bytes:
        response = await self.client.get(f"/audit/{path}")
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == media_type
        assert response.headers["access-control-allow-origin"] == "*"
        return response.content


def _p(width: int) -> str:
    return "" if width == 256 else f".p/{width}"


def _spans(count: int) -> list[tuple[int, int]]:
    return [(at // 256, min(256, count - at)) for at in range(0, count, 256)]


async def reader_of(client: httpx.AsyncClient) -> Reader:
    return Reader(client, (await client.get("/audit/key")).text.rstrip("\n"))


async def test_nothing_is_there_before_the_first_checkpoint(
    app: Litestar, client: httpx.AsyncClient, place: Path
) -> None:
    for sealed in (False, True):
        for path in ("checkpoint", "key", "tile/0/000.p/1", "tile/entries/000.p/1"):
            response = await client.get(f"/audit/{path}")
            assert response.status_code == 404
            assert response.text.startswith("There is no checkpoint yet")
            assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert (await client.get("/audit/log.zip")).status_code == 404
        if not sealed:
            await seal(app, place, sign=False)  # it is in the tree, and yet nobody has signed it


@pytest.mark.parametrize("more", [1, 254, 255, 256, 300])
async def test_a_stranger_reads_all_of_it_and_recomputes_the_root(
    app: Litestar, client: httpx.AsyncClient, place: Path, more: int
) -> None:
    await happen(app, more)
    await seal(app, place)
    reader = await reader_of(client)
    assert reader.origin == LOG_ORIGIN
    entries = await reader.audit()
    async with app.state.services.engine.connect() as connection:
        stored = (
            (await connection.execute(sa.select(audit_entry.c.body).order_by(audit_entry.c.number)))
            .scalars()
            .all()
        )
    assert sorted(entries) == sorted(map(bytes, stored))


async def test_what_no_checkpoint_covers_is_not_served(
    app: Litestar, client: httpx.AsyncClient, place: Path
) -> None:
    await happen(app, 250)
    signed = await seal(app, place)
    assert signed is not None
    await happen(app, 20)
    await seal(app, place, sign=False)  # in the tree, whose first tile is full now
    size = signed.size
    for path, status in (
        (f"tile/0/000.p/{size}", 200),
        (f"tile/entries/000.p/{size}", 200),
        (f"tile/0/000.p/{size + 1}", 404),
        (f"tile/entries/000.p/{size + 1}", 404),
        ("tile/0/000", 404),
        ("tile/entries/000", 404),
        ("tile/1/000.p/1", 404),
    ):
        assert (await client.get(f"/audit/{path}")).status_code == status, path
    before = (await client.get(f"/audit/tile/0/000.p/{size}")).content
    await seal(app, place)
    assert (await client.get(f"/audit/tile/0/000.p/{size}")).content == before, "immutable means for ever"
    assert (await client.get("/audit/tile/0/000")).content[: len(before)] == before
    await (await reader_of(client)).audit()


NO_ADDRESS = [
    "0/0",
    "0/00",
    "0/0000",
    "00/000",
    "01/000",
    "64/000",
    "-1/000",
    "0/x000/000",
    "0/001/000",
    "0/x001",
    "0/000/",
    "0//000",
    "0/000.p/0",
    "0/000.p/256",
    "0/000.p/01",
    "0/000.p/",
    "0/000.p",
    "0/%30%30%30",
    "0/%D9%A0%D9%A0%D9%A0",
    "0/000%00",
    "0/000%0A",
    "0/x999/x999/x999/x999/x999/x999/999",
    "63/x999/x999/x999/x999/x999/999",
    "entries/x001/000",
    "entries/0",
    "data/000",
]


async def test_each_tile_has_one_address(app: Litestar, client: httpx.AsyncClient, place: Path) -> None:
    await happen(app, 256)
    await seal(app, place)
    assert (await client.get("/audit/tile/0/000?cache=no")).status_code == 200
    for path in NO_ADDRESS:
        # httpx must not tidy the path up: this is about what arrives.
        url = httpx.URL("http://portal.test/").copy_with(raw_path=f"/audit/tile/{path}".encode())
        assert (await client.get(url)).status_code == 404, path


async def test_how_long_answers_keep_and_how_they_are_packed(
    app: Litestar, client: httpx.AsyncClient, place: Path
) -> None:
    await happen(app, 256)
    await seal(app, place)
    assert (await client.get("/audit/checkpoint")).headers["cache-control"] == "public, max-age=1"
    for path in ("tile/0/000", "tile/0/000.p/7", "tile/entries/000"):
        assert (await client.get(f"/audit/{path}")).headers["cache-control"] == IMMUTABLE
    for path in ("checkpoint", "key", "tile/0/000", "tile/entries/000"):
        client.cookies.clear()
        assert "set-cookie" not in (await client.get(f"/audit/{path}")).headers, (
            "a cache would give it to others"
        )
    for accepts, packed in (
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("", False),
    ):
        async with client.stream(
            "GET", "/audit/tile/entries/000", headers={"Accept-Encoding": accepts}
        ) as response:
            raw = b"".join([item async for item in response.aiter_raw()])
        assert (response.headers.get("content-encoding") == "gzip") is packed, accepts
        assert response.headers["vary"] == "Accept-Encoding"
        plain = gzip.decompress(raw) if packed else raw
        assert plain == (await client.get("/audit/tile/entries/000")).content
    head = await client.head("/audit/tile/0/000")
    assert (head.status_code, head.headers["content-length"]) == (200, "8192")
    limit = (await client.get("/audit/tile/0/000")).headers["ratelimit-policy"]
    assert limit == '"tile";q=12000;w=60'


async def test_the_whole_log_is_one_zip_that_says_what_is_in_it(
    app: Litestar, client: httpx.AsyncClient, place: Path, exports: Callable
) -> None:
    await happen(app, 300)
    signed = await seal(app, place)
    assert signed is not None
    await happen(app, 3)
    assert (await client.head("/audit/log.zip")).status_code == 200
    assert await exports() == [], "looking at the head takes nothing"
    response = await client.get("/audit/log.zip")
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(files.pop("log.json"))
    assert (about["schema"], about["origin"], about["checkpoint_size"]) == (
        "acgs.log/1",
        LOG_ORIGIN,
        signed.size,
    )
    assert about["verifier_key"] == (await client.get("/audit/key")).text.strip()
    assert about["files"] == {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}
    assert files["checkpoint.txt"].decode() == signed.note
    assert hashlib.sha256(files["constitution.md"]).hexdigest() == about["constitution_sha256"]
    assert files["anchors.json"] == b"[]"
    last = f"entries/{tile_name(1, signed.size - 256)}"
    assert [name for name in files if name.startswith("entries/")] == ["entries/000", last]
    for name in ("000", tile_name(1, signed.size - 256)):
        assert files[f"entries/{name}"] == (await client.get(f"/audit/tile/entries/{name}")).content
    (entry,) = await exports()
    assert entry["subject"] == "log" and entry["payload"]["what"].startswith("log.zip")
    assert entry["actor"] == "visitor"


@pytest.fixture
def exports(app: Litestar) -> Callable:
    """`await exports()`: the entries about exports, decoded."""

    async def read() -> list[dict]:
        query = sa.select(audit_entry.c.body).where(audit_entry.c.type == "export.made")
        async with app.state.services.engine.connect() as connection:
            rows = (await connection.execute(query.order_by(audit_entry.c.number))).scalars()
            return [json.loads(bytes(row)) for row in rows]

    return read


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, "000"),
        (999, "999"),
        (1000, "x001/000"),
        (1234067, "x001/x234/067"),
        (10**9, "x001/x000/x000/000"),
    ],
)
def test_names_of_tiles_are_those_of_the_specification(index: int, expected: str) -> None:
    assert tile_name(index, 256) == expected == _n(index)
    assert tile_name(index, 12) == f"{expected}.p/12"
