"""Settings: every variable is documented, every bad value is named, and nothing secret is shown."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from portal.settings import VARIABLES, Settings, SettingsError

ROOT = Path(__file__).parents[2]
SEED = [
    "GOVERNANCE_WORKFLOWS_PORT",
    "GOVERNANCE_WORKFLOWS_HOST",
    "MAX_CONCURRENT_WORKFLOWS",
    "RESPONSE_TIME_TARGET_MS",
    "AVAILABILITY_TARGET_PERCENT",
    "GS_SERVICE_URL",
    "PGC_SERVICE_URL",
    "AC_SERVICE_URL",
    "INTEGRITY_SERVICE_URL",
    "DATABASE_URL",
    "REDIS_URL",
    "PROMETHEUS_ENABLED",
    "OPENTELEMETRY_ENABLED",
    "METRICS_EXPORT_INTERVAL",
    "CONSTITUTION_HASH",
    "SOLANA_CLUSTER",
]


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]", line))


def test_the_example_names_exactly_the_variables_that_are_read():
    assert sorted(example()) == sorted(VARIABLES)
    assert set(SEED) <= set(VARIABLES)


def test_every_variable_of_the_example_has_a_line_that_explains_it():
    lines = (ROOT / ".env.example").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"[A-Z]", line):
            assert before.startswith("# "), line


def test_the_example_gives_the_defaults():
    assert Settings.from_environment(example()) == Settings.from_environment({})


def test_nothing_else_reads_the_environment():
    for path in [*ROOT.glob("portal/**/*.py"), *ROOT.glob("workflows/**/*.py"), *ROOT.glob("chain/**/*.py")]:
        if path.name not in (
            "settings.py",
            "supervisor.py",
            "pool.py",
        ):  # the last two pass it on to processes
            assert "os.environ" not in path.read_text() and "getenv" not in path.read_text(), path


def test_an_empty_variable_is_unset():
    assert Settings.from_environment({"REDIS_URL": "", "CONSTITUTION_HASH": " "}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GOVERNANCE_WORKFLOWS_PORT", "http"),
        ("GOVERNANCE_WORKFLOWS_PORT", "65536"),
        ("GOVERNANCE_WORKFLOWS_PORT", "-1"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("REDIS_URL", "localhost:6379"),
        ("DEMO", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("JWT_SECRET", "short"),
        ("BASE_URL", "ftp://example.org"),
        ("SOLANA_CLUSTER", "Dev Net"),
        ("QUANTUMAGI_PROGRAM_ID", "0OIl"),
        ("AVAILABILITY_TARGET_PERCENT", "101"),
        ("METRICS_EXPORT_INTERVAL", "soon"),
        ("RATE_LIMIT_ACT", "0"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_variable(variable: str, value: str):
    with pytest.raises(SettingsError, match=f"^{variable} must"):
        Settings.from_environment({variable: value})


def test_secrets_stand_neither_in_errors_nor_in_the_settings_as_text():
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"DATABASE_URL": "mysql://user:hunter2@localhost/x"})
    assert "hunter2" not in str(caught.value)
    settings = Settings(
        jwt_secret="hunter2" * 6,
        database_url="postgresql://u:hunter2@h/d",
        redis_url="redis://:hunter2@h",
        anchor_keypair="hunter2",
        metrics_token="hunter2",
    )
    assert "hunter2" not in repr(settings)


def test_settings_survive_the_way_to_another_process():
    settings = Settings(
        port=9000, demo=False, database_url="postgresql:///x", data_dir=Path("/data"), solana_cluster="devnet"
    )
    assert Settings.from_environment(settings.to_environment()) == settings


@pytest.mark.parametrize(
    ("given", "rpc", "localnet"),
    [
        ({}, "http://127.0.0.1:8899", True),
        ({"LOCALNET_PORT": "9100"}, "http://127.0.0.1:9100", True),
        ({"SOLANA_CLUSTER": "devnet"}, "https://api.devnet.solana.com", False),
        ({"SOLANA_CLUSTER": "devnet", "SOLANA_RPC_URL": "https://rpc.example"}, "https://rpc.example", False),
        ({"SOLANA_RPC_URL": "http://localnet:8899"}, "http://localnet:8899", False),
    ],
)
def test_where_the_chain_is(given: dict[str, str], rpc: str, localnet: bool):
    settings = Settings.from_environment(given)
    assert (settings.rpc_url, settings.wants_localnet) == (rpc, localnet)


def test_a_cluster_of_ones_own_needs_its_address():
    with pytest.raises(SettingsError, match="SOLANA_RPC_URL"):
        Settings.from_environment({"SOLANA_CLUSTER": "staging"})
