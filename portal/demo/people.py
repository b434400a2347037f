"""The demo's people: twelve personas one can sign in as, and three hundred members who can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, product

from workflows.roles import Role

PASSWORD = "demo"  # noqa: S105  said on the page: the demo has no secrets


@dataclass(frozen=True)
class Persona:
    username: str
    name: str
    roles: tuple[Role, ...]
    about: str
    expertise: tuple[str, ...] = ()
    languages: tuple[str, ...] = ("en",)


_M = Role.MEMBER
PERSONAS = (
    Persona("ada", "Ada Okonkwo", (_M,), "member"),
    Persona("ben", "Ben Halloran", (_M,), "member"),
    Persona("lea", "Lea Haddad", (_M,), "member, reads Arabic", languages=("ar", "en")),
    Persona("chidi", "Chidi Nwosu", (_M, Role.DRAFTER), "drafter"),
    Persona("dana", "Dana Petrović", (_M, Role.REVIEWER), "reviewer"),
    Persona("emre", "Emre Yıldız", (_M, Role.REVIEWER), "reviewer, legal", expertise=("legal",)),
    Persona("farah", "Farah Rahimi", (_M, Role.COUNCIL), "council, its chair", expertise=("chair",)),
    Persona("gita", "Gita Raman", (_M, Role.COUNCIL), "council"),
    Persona("hal", "Hal Lindqvist", (Role.AUDITOR,), "auditor"),
    Persona("ines", "Inês Carvalho", (Role.OMBUDSPERSON,), "ombudsperson"),
    Persona("jon", "Jon Ólafsson", (Role.OPERATOR,), "operator"),
    Persona("kim", "Kim Min-seo", (Role.ADMIN,), "admin"),
)

MEMBERS = 300
_GIVEN = (
    "Aïcha", "Anders", "Bao", "Camila", "Dmitri", "Esra", "Farid", "Greta", "Hana", "Ibrahim", "Jelena", "Kofi",
    "Lucía", "Mateo", "Nadia", "Omar", "Priya", "Quentin", "Rosa", "Sven", "Tomoko", "Ursula", "Viktor", "Wanjiru",
    "Yusuf",
)  # fmt: skip
_FAMILY = (
    "Abebe", "Bianchi", "Chen", "Dubois", "Eriksen", "Fernández", "Gupta", "Horvat", "Ivanova", "Jensen", "Kowalska",
    "Lefebvre",
)  # fmt: skip


def members() -> list[tuple[str, str]]:
    """Three hundred (username, name), always the same."""
    pairs = islice(product(_FAMILY, _GIVEN), MEMBERS)
    return [(f"member{number:03}", f"{given} {family}") for number, (family, given) in enumerate(pairs, 1)]
