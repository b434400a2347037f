"""The one metadata, and the kinds of columns that tables are made of."""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = sa.MetaData(naming_convention=NAMING)


class XID8(sa.types.UserDefinedType):
    """PostgreSQL's 64-bit transaction id."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "XID8"


def id_column() -> sa.Column:
    return sa.Column("id", pg.UUID(as_uuid=True), primary_key=True)


def reference(name: str, target: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, pg.UUID(as_uuid=True), sa.ForeignKey(target), nullable=nullable)


def time_column(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def enum_column(name: str, kind: type[StrEnum], *, nullable: bool = False) -> sa.Column:
    values = ", ".join(f"'{value}'" for value in kind)
    return sa.Column(name, sa.Text, sa.CheckConstraint(f"{name} IN ({values})", name), nullable=nullable)


def sha256_column(name: str, *, nullable: bool = False) -> sa.Column:
    """A SHA-256 as 64 lower-case hex digits."""
    return sa.Column(
        name, sa.Text, sa.CheckConstraint(f"{name} ~ '^[0-9a-f]{{64}}$'", name), nullable=nullable
    )
