"""`python -m portal [web|worker|--service ac|--service gs|--service pgc|migrate|person|check|rehearse|demo]`; without a word, everything."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from portal.settings import Settings, SettingsError
from workflows.errors import GovernanceError

if TYPE_CHECKING:
    from litestar import Litestar

WARM_AFTER = 10.0  # seconds; what is asked of it right after the start comes first


def main(arguments: list[str]) -> None:
    try:
        settings = Settings.from_environment()
        match arguments:
            case []:
                everything(settings)
            case ["web"]:
                web(settings)
            case ["worker"]:
                worker(settings)
            case ["--service", "ac"]:
                ac(settings)
            case ["--service", "pgc"]:
                pgc(settings)
            case ["--service", "gs"]:
                gs(settings)
            case ["migrate"]:
                migrate(settings)
            case ["person", *rest]:
                from portal import people

                people.main(settings, rest)
            case ["check", *rest]:
                from portal import self_check

                self_check.main(settings, rest)
            case ["rehearse", *rest]:
                from portal import rehearsal

                rehearsal.main(settings, rest)
            case ["demo"]:
                migrate(settings.with_(demo=True))
            case _:
                sys.exit(f"usage: {__doc__}")
    except SettingsError as error:
        sys.exit(f"{error}")


def everything(settings: Settings) -> None:
    """Databases, chain, worker and web, those that have no address elsewhere; until Ctrl-C."""
    from portal.supervisor import CannotStart, run

    try:
        run(settings)
    except CannotStart as error:
        sys.exit(f"The portal cannot start. {error}")


def web(settings: Settings) -> None:
    """One web process."""
    from portal.app import create_app
    from portal.keys import with_jwt_secret

    _insist(settings)
    app = create_app(with_jwt_secret(settings))
    _warmed(app)
    _serve(
        app,
        settings,
        settings.port,
        ws="websockets-sansio",
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        ws_max_size=64 * 1024,
    )


def ac(settings: Settings) -> None:
    """Constitutional analysis as a service."""
    from portal.ac import create_service, port_of
    from portal.keys import with_jwt_secret

    _serve(create_service(with_jwt_secret(settings)), settings, port_of(settings))


def pgc(settings: Settings) -> None:
    """The engines of policy enforcement as a service."""
    from portal.keys import with_jwt_secret
    from portal.pgc import create_service, port_of

    _serve(create_service(with_jwt_secret(settings)), settings, port_of(settings))


def gs(settings: Settings) -> None:
    """Policy synthesis and consensus as a service."""
    from portal.gs import create_service, port_of
    from portal.keys import with_jwt_secret

    _serve(create_service(with_jwt_secret(settings)), settings, port_of(settings))


def _warmed(app: Litestar) -> None:
    """Have it load, once it serves, what its first judgement would otherwise wait seconds for."""

    async def warm() -> None:
        await asyncio.sleep(WARM_AFTER)
        with suppress(GovernanceError):  # whoever has a text judged is told
            await app.state.services.judge.warm()

    async def begin() -> None:
        app.state.warming = asyncio.create_task(warm())

    async def end() -> None:
        app.state.warming.cancel()

    app.on_startup.append(begin)
    app.on_shutdown.append(end)


def _serve(app: Litestar, settings: Settings, port: int, **options: Any) -> None:
    import uvicorn

    from portal.telemetry import configure_logging

    configure_logging(settings.log_level)
    # uvicorn raises the signal that stopped it once more when it is done; that must end in a clean exit.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    uvicorn.run(
        app,
        host=settings.host,
        port=port,
        loop="uvloop",
        http="httptools",
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=3,
        **options,
    )


def worker(settings: Settings) -> None:
    """One worker process."""
    from portal.telemetry import configure_logging
    from portal.worker import run

    _insist(settings)
    configure_logging(settings.log_level)
    asyncio.run(run(settings))


def migrate(settings: Settings) -> None:
    """Bring the database up to date; with DEMO=true also fill an empty one with the demonstration."""
    from portal.supervisor import prepare

    if not settings.database_url:
        raise SettingsError("DATABASE_URL must be set.")
    asyncio.run(prepare(settings))


def _insist(settings: Settings) -> None:
    for name in ("database_url", "redis_url"):
        if not getattr(settings, name):
            raise SettingsError(
                f"{name.upper()} must be set; `python -m portal` alone starts servers of its own."
            )


if __name__ == "__main__":
    main(sys.argv[1:])
