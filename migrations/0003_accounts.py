"""Accounts: who may come in, whose the servers and their jobs are, and what was done by whom.

What was there belongs to the first account, an administrator without a password: whoever could come in until now came
in by a printed link, which signs in to that account.
"""

import secrets
import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade():
    _accounts()
    _ways_in()
    _sessions()
    _limits_and_audit()
    _owners()
    _host_keys()
    _logins()
    _tails()
    _made_keys()


def downgrade():
    raise NotImplementedError("The way back is the copy that was made before the upgrade.")


def _accounts():
    account = op.create_table(
        "account",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("guest_of", sa.Integer(), nullable=True),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("totp", sa.Text(), nullable=False),
        sa.Column("totp_used", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("disabled_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["guest_of"], ["account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    first = {
        "name": "admin",
        "role": "administrator",
        "handle": secrets.token_urlsafe(32),
        "password": "",
        "totp": "",
        "totp_used": 0,
        "created_at": time.time(),
    }
    op.bulk_insert(account, [first])


def _ways_in():
    op.create_table(
        "passkey",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("credential_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("sign_count", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("credential_id"),
    )
    op.create_index("ix_passkey_account_id", "passkey", ["account_id"])
    op.create_table(
        "recovery_code",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("ix_recovery_code_account_id", "recovery_code", ["account_id"])


def _sessions():
    op.create_table(
        "session",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("idle", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("proved_at", sa.Float(), nullable=False),
        sa.Column("browser", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_index("ix_session_account_id", "session", ["account_id"])
    # A browser that was let in stays in.
    op.execute(
        "INSERT INTO session"
        " (digest, account_id, created_at, seen_at, idle, expires_at, proved_at, browser, address)"
        " SELECT digest, 1, created_at, created_at, expires_at - created_at, expires_at, 0, '', ''"
        " FROM entry WHERE kind = 'cookie'"
    )
    op.execute("DELETE FROM entry WHERE kind = 'cookie'")
    # A link signs in to an account: to the first one, unless it says more.
    op.add_column("entry", sa.Column("account_id", sa.Integer(), nullable=False, server_default=sa.text("1")))


def _limits_and_audit():
    op.create_table(
        "bucket",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Float(), nullable=False),
        sa.Column("filled_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=True),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("audit_account", "audit", ["account_id", "id"])
    op.execute("INSERT INTO counter (name, value) VALUES ('audit', 0)")
    op.create_table(
        "refusal",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("key"),
    )
    _audit_is_only_added_to()


def _audit_is_only_added_to():
    """Against a mistake and an injected statement; whoever owns the database can drop what hinders."""
    refusal = "The audit log is only added to."
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_no_{verb.lower()} BEFORE {verb} ON audit"
                f" BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION '{refusal}'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON audit"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
    )


def _owners():
    """The same login may be known to several accounts, each with rows of its own."""
    if op.get_bind().dialect.name == "sqlite":
        _owned_servers_on_sqlite()
    else:
        op.add_column(
            "server", sa.Column("owner_id", sa.Integer(), nullable=False, server_default=sa.text("1"))
        )
        op.create_foreign_key(None, "server", "account", ["owner_id"], ["id"], ondelete="CASCADE")
        op.drop_constraint("server_user_host_port_key", "server", type_="unique")
        op.create_unique_constraint(None, "server", ["owner_id", "user", "host", "port"])
        op.create_check_constraint("server_this_machine", "server", "host <> '' OR owner_id = 1")
        op.add_column("server", sa.Column("narrow", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("job", sa.Column("owner_id", sa.Integer(), nullable=False, server_default=sa.text("1")))
    op.drop_index("job_list", "job")
    op.create_index("job_list", "job", ["owner_id", "group", sa.text("change DESC")])
    # Each owner's pages follow their own numbers.
    op.execute("UPDATE counter SET name = name || '.1' WHERE name IN ('change', 'afresh')")
    if op.get_bind().dialect.name == "sqlite":
        _search_of_each_owner_on_sqlite()


def _owned_servers_on_sqlite():
    """A table's constraints can only be changed by making it anew. Foreign keys are off while migrations run."""
    op.create_table(
        "server_anew",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("key_files", sa.Text(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("min_interval", sa.Float(), nullable=False),
        sa.Column("last_try_at", sa.Float(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.Column("needs_person", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("error_since", sa.Float(), nullable=True),
        sa.Column("skew", sa.Float(), nullable=True),
        sa.Column("owner_id", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("narrow", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.ForeignKeyConstraint(["owner_id"], ["account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("owner_id", "user", "host", "port"),
        sa.CheckConstraint("host <> '' OR owner_id = 1", name="server_this_machine"),
    )
    op.execute("INSERT INTO server_anew SELECT *, 1, '' FROM server")
    op.drop_table("server")
    op.rename_table("server_anew", "server")
    if op.get_bind().exec_driver_sql("PRAGMA foreign_key_check").first():
        raise RuntimeError("What refers to the servers does not fit them any more.")


def _search_of_each_owner_on_sqlite():
    """A search walks what its owner has, however much the others have of the same words.

    The owner stands in the index as one group of three letters, in a column of its own: see remoteweb/jobs/searching.py.
    """
    for name in ("job_search_insert", "job_search_delete", "job_search_update"):
        op.execute(f"DROP TRIGGER {name}")
    op.execute("DROP TABLE job_search")
    mark = "char(19968 + $.owner_id % 8192, 19968 + $.owner_id / 8192 % 8192, 19968 + $.owner_id / 67108864)"
    op.execute(
        "CREATE VIEW job_searched AS SELECT id, name, scheduler_id, @ AS owner FROM job".replace(
            "@", mark.replace("$", "job")
        )
    )
    op.execute(
        "CREATE VIRTUAL TABLE job_search USING fts5("
        "name, scheduler_id, owner, content='job_searched', content_rowid='id', tokenize='trigram')"
    )
    words = f"$.id, $.name, $.scheduler_id, {mark}"
    new = "INSERT INTO job_search (rowid, name, scheduler_id, owner) VALUES (@);"
    new = new.replace("@", words.replace("$", "new"))
    # An external-content table is told what to forget by the values that it was given.
    old = "INSERT INTO job_search (job_search, rowid, name, scheduler_id, owner) VALUES ('delete', @);"
    old = old.replace("@", words.replace("$", "old"))
    op.execute(f"CREATE TRIGGER job_search_insert AFTER INSERT ON job BEGIN {new} END")
    op.execute(f"CREATE TRIGGER job_search_delete AFTER DELETE ON job BEGIN {old} END")
    # Most updates are changes of state: only those that change what is searched cost anything here.
    op.execute(
        "CREATE TRIGGER job_search_update AFTER UPDATE OF name, scheduler_id, owner_id ON job "
        "WHEN old.name IS NOT new.name OR old.scheduler_id IS NOT new.scheduler_id "
        f"OR old.owner_id IS NOT new.owner_id BEGIN {old} {new} END"
    )
    op.execute("INSERT INTO job_search (job_search) VALUES ('rebuild')")
    op.execute("DROP INDEX job_search_name")
    op.execute("CREATE INDEX job_search_name ON job (owner_id, name COLLATE NOCASE)")


def _host_keys():
    op.create_table(
        "host_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("accepted_by", sa.Text(), nullable=False),
        sa.Column("accepted_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("owner_id", "name", "key"),
    )


def _logins():
    """What of the way to a server has no column of its own, and what a person began on a page."""
    op.add_column("server", sa.Column("way", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("server", sa.Column("asks", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column(
        "server", sa.Column("keep_seconds", sa.Float(), nullable=False, server_default=sa.text("0"))
    )
    op.add_column("server", sa.Column("kept_until", sa.Float(), nullable=False, server_default=sa.text("0")))
    op.add_column("server", sa.Column("kept_by", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.create_table(
        "login",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("way", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("keep_seconds", sa.Float(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("key_line", sa.Text(), nullable=False),
        sa.Column("key_server", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,  # no number twice
    )
    is_open = sa.text("ended_at IS NULL")
    op.create_index(
        "login_one_open",
        "login",
        ["owner_id", "user", "host", "port"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "question",
        sa.Column("login_id", sa.Integer(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("socket", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("instructions", sa.Text(), nullable=False),
        sa.Column("questions", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["login_id"], ["login.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("login_id"),
    )


def _tails():
    """What a job has printed, for as long as somebody reads it."""
    op.create_table(
        "tail",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("read_at", sa.Float(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("job_id", "stream"),
    )
    op.create_index("ix_tail_asked_at", "tail", ["asked_at"])


def _made_keys():
    op.create_table(
        "made_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("public", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("sealed_by", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("made_at", sa.Float(), nullable=True),
        sa.Column("accepted_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    for name, condition in (
        ("made_key_new", "state IN ('wanted', 'made')"),
        ("made_key_in_use", "state = 'in_use'"),
    ):
        op.create_index(
            name,
            "made_key",
            ["owner_id", "user", "host", "port"],
            unique=True,
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )
