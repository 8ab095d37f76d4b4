"""What a sync needs to know to clean: which ended jobs are not cleaned yet, and when a source's turn comes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("source", sa.Column("clean_at", sa.Float(), nullable=False, server_default=sa.text("0")))
    op.create_index(
        "job_uncleaned",
        "job",
        ["source_id", "ended"],
        sqlite_where=sa.text("cleaned = 0 AND open = 0"),
        postgresql_where=sa.text("NOT cleaned AND NOT open"),
    )


def downgrade():
    raise NotImplementedError("The way back is the copy that was made before the upgrade.")
