"""Images that devices give to train on, and which student replaces which."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the column."""
    op.create_table(
        "gifts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("student", sa.Integer, sa.ForeignKey("students.id"), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("device", sa.String(16), sa.ForeignKey("devices.id"), nullable=False),
        sa.Column("classes", sa.Text, nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.UniqueConstraint("student", "digest", "device"),
    )
    op.add_column("students", sa.Column("replaces", sa.String(64)))
