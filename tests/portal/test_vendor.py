"""What we did not write is what its author published: listed, licensed, unchanged, and it fetches nothing from elsewhere."""

import re
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "static/vendor", ROOT / "tests/e2e/vendor"]
LOADS = re.compile(
    rb"""(?:@import\s+(?:url\()?|url\(|importScripts\(|import\(|(?:src|href)\s*=\s*)["']?(?:https?:)?//(?!www\.w3\.org)"""
)
DELIVERY_NETWORKS = re.compile(
    rb"cdn\.jsdelivr\.net|unpkg\.com|cdnjs\.cloudflare\.com|fonts\.g(?:oogleapis|static)\.com|esm\.sh"
)


def packages(folder: Path) -> list[dict]:
    return tomllib.loads((folder / "MANIFEST.toml").read_text())["package"]


def listed(folder: Path) -> dict[Path, str]:
    return {
        folder / p["folder"] / name: digest for p in packages(folder) for name, digest in p["files"].items()
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.parent.name)
def test_every_vendored_file_is_listed_and_no_other(folder):
    present = {f for f in folder.rglob("*") if f.is_file() and f.name != "MANIFEST.toml"}
    assert present == set(listed(folder))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.parent.name)
def test_every_vendored_file_has_the_published_bytes(folder):
    differing = [
        f.name for f, digest in listed(folder).items() if sha256(f.read_bytes()).hexdigest() != digest
    ]
    assert not differing


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.parent.name)
def test_every_package_has_a_version_and_its_licence(folder):
    for package in packages(folder):
        assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"]), package["name"]
        licences = [f for f in package["files"] if f.startswith("LICENSE")]
        assert licences, package["name"]
        text = (folder / package["folder"] / licences[0]).read_text()
        words = {
            "0BSD": "Zero-Clause BSD",
            "Apache-2.0": "Apache License",
            "OFL-1.1": "SIL Open Font License",
            "MPL-2.0": "Mozilla Public License",
            "Bitstream-Vera": "Bitstream Vera",
        }
        assert words[package["licence"]].lower() in text.lower(), package["name"]


@pytest.mark.parametrize("where", ["static", "templates"])
def test_nothing_is_loaded_from_elsewhere(where):
    """Links that a person follows may leave; scripts, styles, fonts and images may not."""
    for file in (ROOT / where).rglob("*"):
        if file.suffix in {".js", ".css", ".html", ".svg"}:
            found = DELIVERY_NETWORKS.search(file.read_bytes())
            assert not found, f"{file.name}: {found[0] if found else ''}"
            if "swagger-ui-bundle" not in file.name and file.suffix != ".html":
                assert not LOADS.search(file.read_bytes()), file.name


def test_sheets_name_their_fonts_by_content():
    """The same addresses as `static_url` gives, so that a font is fetched once and kept."""
    named = re.findall(r'url\("/static/([^"?]+)\?v=(\w+)"\)', (ROOT / "static/css/tokens.css").read_text())
    assert len(named) == 4
    for path, version in named:
        assert sha256((ROOT / "static" / path).read_bytes()).hexdigest()[:12] == version, path


def test_fonts_stay_light():
    fonts = list((ROOT / "static/vendor/fonts").rglob("*.woff2"))
    assert 0 < sum(f.stat().st_size for f in fonts) < 250_000
