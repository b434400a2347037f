"""The constitution as a page: its text article by article, its hash and how it was made, its figures."""

from __future__ import annotations

import re
from collections import Counter

import sqlalchemy as sa
from litestar import Request, Response, get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncConnection

from chain import explorer
from chain.config import ChainConfig
from portal.auth.guards import public
from portal.pages.render import page
from workflows.constitution import amendments, conformance, wording
from workflows.constitution.clauses import clauses
from workflows.constitution.document import Constitution
from workflows.constitution.examples import of_principle
from workflows.markdown import to_html
from workflows.storage.tables import chain_status

ARTICLE = re.compile(r"<p><strong>(\d+)\.(\d+)</strong>")
SECTION = re.compile(r"<h4>(\d+) ")


def with_anchors(html: str) -> str:
    """Give each article and section the id that links from figures and reasons point to (`art-5-4`)."""
    html = SECTION.sub(r'<h4 id="art-\1">\1 ', html)
    return ARTICLE.sub(
        r'<p id="art-\1-\2" class="article-text"><strong><a href="#art-\1-\2">\1.\2</a></strong>', html
    )


def figures_of(constitution: Constitution) -> list[dict[str, object]]:
    """The single figures of the annex, named for people."""
    figures = constitution.figures
    return [
        {"name": name, "value": f"{figure.value} {unit}", "article": figure.article}
        for name, figure, unit in (
            ("A ballot is open for", figures.voting_days, "days"),
            ("… in an emergency for", figures.emergency_voting_days, "days"),
            ("Quorum", figures.quorum_percent, "% of those who may vote"),
            ("A veto is overridden with", figures.veto_override_percent, "%"),
            ("An appeal is possible for", figures.appeal_hours, "hours"),
            ("A panel decides within", figures.appeal_decision_working_days, "working days"),
        )
    ]


def explorer_urls(config: ChainConfig, documents: list[amendments.Document]) -> dict[str, str | None]:
    """Where a Solana explorer shows the transaction of each amendment, by its signature."""
    signatures = [item.signature for item in documents if item.signature]
    return {signature: explorer.transaction_url(config, signature) for signature in signatures}


@get("/constitution", guards=[public], include_in_schema=False)
async def show(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    chain_config: NamedDependency[ChainConfig],
) -> Response:
    documents = await amendments.history(reader, constitution)
    status = (await reader.execute(sa.select(chain_status))).mappings().one_or_none()
    return page(
        request,
        "pages/constitution.html",
        title="Constitution",
        document=with_anchors(to_html(constitution.text)),
        governing=constitution,
        figures=figures_of(constitution),
        chain=status,
        documents=documents,
        explorer_urls=explorer_urls(chain_config, documents),
    )


@get("/constitution/document", guards=[public], include_in_schema=False)
async def document(constitution: NamedDependency[Constitution]) -> Response[bytes]:
    """The very bytes that were hashed, for `sha256sum`."""
    return Response(
        constitution.body,
        media_type="text/markdown; charset=utf-8",
        headers={"Content-Disposition": f'inline; filename="{constitution.source}"'},
    )


@get("/constitution/principles", guards=[public], include_in_schema=False)
async def principles(request: Request, constitution: NamedDependency[Constitution]) -> Response:
    """What texts are held against, each with clauses that honour and that break it."""
    shown = [(each, of_principle(each.key)) for each in constitution.principles]
    return page(
        request, "pages/principles.html", title="Principles", principles=shown, governing=constitution
    )


@get("/constitution/conformance", guards=[public], include_in_schema=False)
async def conforms(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
) -> Response:
    """Each clause against the code that implements it and its last check."""
    held = await conformance.held(reader, clauses(constitution.text))
    counts = Counter(found.state for item in held for found in item.found)
    return page(
        request,
        "pages/conformance.html",
        title="Conformance",
        held=held,
        counts={state: counts[state] for state in ("holds", "broken", "nothing", "unchecked")},
        figures=conformance.figures_held(constitution.figures),
        worded=wording.worded(constitution.text, constitution.figures),
        laxer=wording.laxer(constitution.text, constitution.figures),
        governing=constitution,
    )


routes = [show, principles, conforms, document]
