"""What runs rules, holds texts against the constitution and drafts policies: this process, or services elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from portal.auth.tokens import service_token
from portal.settings import Settings
from portal.telemetry import Metrics
from workflows.constitutional_compliance.analysis import Judge, LocalJudge
from workflows.constitutional_compliance.embedding import packaged
from workflows.constitutional_compliance.embeddings import Stored
from workflows.constitutional_compliance.models import Models, StoredHeads, names
from workflows.constitutional_compliance.service import NAME as AC
from workflows.constitutional_compliance.service import AcService
from workflows.kinds import ConsensusStrategy
from workflows.policy_creation.synthesis.drafting import LocalSynthesiser, Synthesiser
from workflows.policy_creation.synthesis.gs import NAME as GS
from workflows.policy_creation.synthesis.gs import GsService
from workflows.policy_enforcement.engines.opa import OpaServer
from workflows.policy_enforcement.engines.pgc import NAME as PGC
from workflows.policy_enforcement.engines.pgc import PgcService
from workflows.policy_enforcement.engines.pool import EnginePool
from workflows.policy_enforcement.rulebook import Engine, Rulebook
from workflows.ports import Embedder, LanguageModel


def engine_for(settings: Settings, metrics: Metrics) -> Engine:
    """What runs the rules: a PGC service, an OPA server, or processes of our own."""
    if settings.pgc_service_url:
        service = PgcService(settings.pgc_service_url, _shown(settings, PGC), metrics.observe_service)
        return _watched(service, metrics)
    if settings.opa_url:
        return _watched(OpaServer(settings.opa_url, EnginePool(), metrics.observe_service), metrics)
    return EnginePool()


def synthesiser_for(settings: Settings, metrics: Metrics, models: Sequence[LanguageModel]) -> Synthesiser:
    """What drafts policies: a GS service, or this process."""
    if settings.gs_service_url:
        service = GsService(settings.gs_service_url, _shown(settings, GS), metrics.observe_service)
        return _watched(service, metrics)
    return LocalSynthesiser(tuple(models), packaged())


def judge_for(
    settings: Settings,
    metrics: Metrics,
    rulebook: Rulebook,
    endpoints: Sequence[Embedder],
    language_models: Sequence[LanguageModel],
) -> Judge:
    """An AC service where one is named; else the analysers run here. Who opened what they ask closes it."""
    store = StoredHeads(rulebook.units)
    if settings.ac_service_url:
        service = AcService(
            settings.ac_service_url,
            names(settings.embedding_model),
            store,
            rulebook,
            _shown(settings, AC),
            metrics.observe_service,
        )
        return _watched(service, metrics)
    models = Models(endpoints, store, Stored(rulebook.units))
    return local_judge(settings, models, language_models, rulebook=rulebook)


def local_judge(
    settings: Settings,
    models: Models,
    language_models: Sequence[LanguageModel],
    *,
    engine: Engine | None = None,
    rulebook: Rulebook | None = None,
) -> LocalJudge:
    return LocalJudge(
        models,
        engine=engine,
        rulebook=rulebook,
        language_models=language_models,
        strategy=ConsensusStrategy(settings.consensus_strategy),
    )


def _shown(settings: Settings, service: str) -> Callable[[], dict[str, str]]:
    """The headers of each request: a token for this service, fresh each time."""
    secret = settings.jwt_secret or ""
    return lambda: {"Authorization": f"Bearer {service_token(secret, service)}"}


R = TypeVar("R", PgcService, OpaServer, GsService, AcService)


def _watched(service: R, metrics: Metrics) -> R:
    """Have the metrics say while it is left alone."""
    breaker = service.remote.breaker
    metrics.service_away.labels(service.remote.name).set_function(lambda: breaker.is_open)
    return service
