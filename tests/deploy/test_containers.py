"""The container files, checked without an engine: they parse, lint, and name only what exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml

from portal.settings import VARIABLES

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))
COMPOSE_SECRETS = {"POSTGRES_PASSWORD": "check-only", "JWT_SECRET": "check-only-check-only-check-only"}


def tool(name: str) -> str:
    found = shutil.which(name, path=f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}")
    assert found, f"{name} is missing; it is pinned in requirements.lock"
    return found


def compose(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("docker-compose"), "--file", "docker-compose.yml", "config"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_compose_resolves_to_the_five_services() -> None:
    done = compose(COMPOSE_SECRETS)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert {"portal", "worker", "localnet", "postgres", "valkey"} <= set(services)
    published = [port["host_ip"] for service in services.values() for port in service.get("ports", [])]
    assert set(published) == {"127.0.0.1"}, "what is published must be published on loopback only"


@pytest.mark.parametrize("secret", sorted(COMPOSE_SECRETS))
def test_compose_has_no_default_for_a_secret(secret: str) -> None:
    done = compose({key: value for key, value in COMPOSE_SECRETS.items() if key != secret})
    assert done.returncode != 0
    assert secret in done.stderr


def test_compose_sets_only_variables_that_the_portal_reads() -> None:
    services = yaml.safe_load(compose(COMPOSE_SECRETS).stdout)["services"]
    assert set(services["portal"]["environment"]) <= set(VARIABLES)


def test_dockerfile_lints() -> None:
    done = subprocess.run(
        [tool("hadolint"), "--failure-threshold", "warning", "Dockerfile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfile_copies_only_what_exists_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    sources = [m[1] for line in lines if (m := re.match(r"COPY (?!--from)(?:--\S+ )*(\S+) \S+$", line))]
    assert sources, "the Dockerfile copies nothing"
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert "USER 10001" in lines
