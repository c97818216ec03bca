"""The first tables: devices, students, releases, contributions, categories."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _column(name: str, kind: object, *more: object, **options: object) -> sa.Column:
    return sa.Column(name, kind, *more, **{"nullable": False, **options})  # type: ignore[arg-type]


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "devices",
        sa.Column("id", sa.String(16), primary_key=True),
        _column("name", sa.String(100)),
        _column("secret_sha256", sa.String(64)),
        _column("scopes", sa.String(200)),
        _column("created", sa.Float),
        sa.Column("revoked", sa.Float),
    )
    op.create_table(
        "students",
        sa.Column("id", sa.Integer, primary_key=True),
        _column("name", sa.String(64), unique=True),
        _column("features", sa.String(64)),
        _column("structure", sa.String(64)),
        _column("blob", sa.String(64)),
        sa.Column("teacher", sa.Text),
        _column("created", sa.Float),
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.Integer, primary_key=True),
        _column("student", sa.Integer, sa.ForeignKey("students.id")),
        _column("version", sa.Integer),
        _column("counted", sa.String(64)),
        _column("contributions", sa.Integer),
        _column("images", sa.BigInteger),
        _column("classes", sa.Text),
        _column("blob", sa.String(64)),
        _column("bytes", sa.BigInteger),
        _column("created", sa.Float),
        sa.UniqueConstraint("student", "version"),
    )
    op.create_table(
        "contributions",
        sa.Column("id", sa.Integer, primary_key=True),
        _column("student", sa.Integer, sa.ForeignKey("students.id")),
        _column("digest", sa.String(64)),
        _column("device", sa.String(16), sa.ForeignKey("devices.id")),
        _column("state", sa.String(16)),
        _column("reason", sa.Text),
        _column("images", sa.BigInteger),
        _column("classes", sa.Text),
        _column("bytes", sa.BigInteger),
        _column("created", sa.Float),
        sa.UniqueConstraint("student", "digest"),
    )
    op.create_table(
        "categories",
        sa.Column("id", sa.Integer, primary_key=True),
        _column("student", sa.Integer, sa.ForeignKey("students.id")),
        _column("digest", sa.String(64)),
        _column("device", sa.String(16), sa.ForeignKey("devices.id")),
        _column("name", sa.Text),
        _column("detail", sa.String(16)),
        _column("images", sa.BigInteger),
        _column("bytes", sa.BigInteger),
        _column("created", sa.Float),
        sa.UniqueConstraint("student", "digest"),
    )


def downgrade() -> None:
    """Remove the tables."""
    for name in ("categories", "contributions", "releases", "students", "devices"):
        op.drop_table(name)
