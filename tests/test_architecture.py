"""The house as it was meant: arrows that point inward, a guard on every route, and no route that comes or goes unseen."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.handlers import BaseRouteHandler
from litestar.routes import BaseRoute

from portal.app import API_ROUTES, PAGE_ROUTES, create_app
from portal.auth.guards import is_guard, public
from portal.settings import Settings

ROOT = Path(__file__).parents[1]
PACKAGES = ("portal", "workflows", "chain")
PUBLIC_POSTS = {
    "/login": "signing in",
    "/logout": "harmless to anyone without a session",
    "/theme": "a preference of the browser",
    "/policies": "hands a text back to somebody whose session ended while they wrote it",
    "/policies/{ref:str}/edit": "the same",
    "/demo/persona": "only in the demonstration",
    "/demo/clock": "only in the demonstration",
    "/api/v1/demo/clock": "only in the demonstration",
    "/audit/rehearsal": "only in the demonstration, and rolled back",
    "/api/v1/auth/token": "signing in",
    "/api/v1/auth/refresh": "the refresh token is the proof",
    "/api/v1/anchors/{anchor_id:uuid}/verify": "reads the chain anew, changes nothing",
}
SECRET_ANSWERS = {
    "/api/v1/auth/token",
    "/api/v1/auth/refresh",
    "/api/v1/auth/tokens",
}  # never kept under a key


@pytest.fixture(scope="module")
def application() -> Litestar:
    return create_app(Settings(jwt_secret="a secret of the tests, long enough for HS256"))


def handlers(application: Litestar) -> list[tuple[BaseRoute, BaseRouteHandler]]:
    """Every handler with its route, without the OPTIONS that Litestar adds."""
    return [
        (route, handler)
        for route in application.routes
        for handler in getattr(route, "route_handlers", None) or [route.route_handler]
        if getattr(handler, "http_methods", None) != {"OPTIONS"}
    ]


def test_every_route_says_who_may_use_it(application: Litestar):
    for route, handler in handlers(application):
        if route.path.startswith("/static"):
            continue
        named = [guard for guard in (handler.guards or ()) if is_guard(guard)]
        assert len(named) == 1, f"{route.path} ({handler}) has {len(named)} guards of its own"


def test_what_the_public_may_send_is_listed_with_its_reason(application: Litestar):
    found = {
        route.path
        for route, handler in handlers(application)
        if getattr(handler, "http_methods", set()) & {"POST", "PUT", "PATCH", "DELETE"}
        and public in handler.guards
    }
    assert found == set(PUBLIC_POSTS)


def test_every_post_of_the_api_that_acts_can_be_repeated_safely(application: Litestar):
    for route, handler in handlers(application):
        acts = "unit" in handler.parsed_fn_signature.parameters
        is_post = "POST" in getattr(handler, "http_methods", set())
        signed_in = public not in (handler.guards or ())
        if (
            route.path.startswith("/api/")
            and is_post
            and acts
            and signed_in
            and route.path not in SECRET_ANSWERS
        ):
            if route.path in ("/api/v1/auth/revoke", "/api/v1/auth/me/erase"):
                continue  # ending what is ended is the same as ending it once, and nobody is left to ask again
            assert getattr(handler.fn, "idempotent", False), route.path


def test_the_routes_are_those_on_the_list(application: Litestar):
    """So that none vanishes and none appears unnoticed; `python -m tests.test_architecture` writes the list anew."""
    listed = (ROOT / "tests" / "routes.txt").read_text().splitlines()
    assert listed == route_list(application)


def route_list(application: Litestar) -> list[str]:
    lines = set()
    for route, handler in handlers(application):
        methods = sorted(getattr(handler, "http_methods", None) or {"WS"})
        lines |= {f"{method:<6} {route.path}" for method in methods if method != "HEAD"}
    return sorted(lines, key=lambda line: (line[7:], line))


def test_the_module_of_every_area_is_served():
    for package, routes in (("pages", PAGE_ROUTES), ("api", API_ROUTES)):
        for path in (ROOT / "portal" / package).glob("*.py"):
            tree = ast.parse(path.read_text())
            exports = any(
                isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "routes"
                for node in tree.body
            )
            if exports:
                module = sys.modules[f"portal.{package}.{path.stem}"]
                assert all(route in routes for route in module.routes), path


def test_arrows_point_inward():
    checked = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "foreign", ["litestar", "redis", "solana", "solders", "anchorpy", "prometheus_client"]
)
def test_the_core_knows_neither_web_nor_redis_nor_chain(foreign: str):
    for path in (ROOT / "workflows").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == foreign for name in names), path


def test_every_module_says_what_it_is_for():
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_no_module_is_too_long_to_read():
    for package in (*PACKAGES, "tests"):
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 520, path


def test_no_address_of_this_machine_is_kept():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    wrong = ("/" + "work/", "/" + "root/", "/" + "tmp/portal")
    for name in listed.decode().split("\0"):
        path = ROOT / name
        if not name or not path.is_file() or path.suffix in (".so", ".woff2", ".png", ".js"):
            continue
        text = path.read_text(errors="ignore")
        assert not any(each in text for each in wrong), name


if __name__ == "__main__":
    app = create_app(Settings(jwt_secret="a secret of the tests, long enough for HS256"))
    (ROOT / "tests" / "routes.txt").write_text("\n".join(route_list(app)) + "\n")
