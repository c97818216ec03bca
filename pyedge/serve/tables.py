"""The tables of the store. `migrations` makes them; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

# a token's secret is stored as its SHA-256: it is 256 random bits, which nobody can try out
devices = Table(
    "devices",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("secret_sha256", String(64), nullable=False),
    Column("scopes", String(200), nullable=False),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
)

# a student as it was added; its arrays' features stay, its classifier is solved anew (`releases`)
students = Table(
    "students",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("features", String(64), nullable=False),
    Column("structure", String(64), nullable=False),
    Column("blob", String(64), nullable=False),
    Column("teacher", Text),
    Column("created", Float, nullable=False),
    Column("replaces", String(64)),  # the name of the student that this one was made after
)

# what devices download. counted: the digest of the set of contributions that count in it
releases = Table(
    "releases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("student", Integer, ForeignKey("students.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("counted", String(64), nullable=False),
    Column("contributions", Integer, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("classes", Text, nullable=False),
    Column("blob", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
    UniqueConstraint("student", "version"),
)

contributions = Table(
    "contributions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("student", Integer, ForeignKey("students.id"), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("device", String(16), ForeignKey("devices.id"), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("classes", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
    UniqueConstraint("student", "digest"),
)

categories = Table(
    "categories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("student", Integer, ForeignKey("students.id"), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("device", String(16), ForeignKey("devices.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("detail", String(16), nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
    UniqueConstraint("student", "digest"),
)

# a file of images that a device gave to train on; several devices may give the same file
gifts = Table(
    "gifts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("student", Integer, ForeignKey("students.id"), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("device", String(16), ForeignKey("devices.id"), nullable=False),
    Column("classes", Text, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
    UniqueConstraint("student", "digest", "device"),
)
