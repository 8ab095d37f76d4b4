"""Remote jobs with a custom database: keeps a table of your own up to date. From cron, for instance:

python custom_database.py sqlite:///jobs.sqlite3 remoteJobs-vistrails alps
python custom_database.py postgresql+psycopg://me@localhost/lab remoteJobs-vistrails alps
"""

import sys

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    create_engine,
    insert,
    select,
    update,
)

from remotejobs import RemoteJobSubmitter

# Your table, with your names.
tables = MetaData()
runs = Table(
    "runs",
    tables,
    Column("id", String(40), primary_key=True),
    Column("title", Text),
    Column("state", Text),
    Column("exit_status", Integer),
    Column("changed_at", DateTime(timezone=True)),
)
cursors = Table("cursors", tables, Column("source", String(255), primary_key=True), Column("cursor", Text))

# What is known of a job, and which of your columns it goes into.
mapping = {
    "jobid": "id",
    "name": "title",
    "status": "state",
    "exit_code": "exit_status",
    "updated": "changed_at",
}


class Database:
    """The three functions that a job needs, and where to go on reading."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def get_record(self, jobid: str) -> Row | None:
        return self.connection.execute(select(runs).where(runs.c.id == jobid)).first()

    def update(self, record: Row, values: dict) -> None:
        self.connection.execute(update(runs).where(runs.c.id == record.id).values(values))

    def insert(self, values: dict) -> None:
        self.connection.execute(insert(runs).values(values))

    def get_cursor(self, source: str) -> str | None:
        return self.connection.scalar(
            select(cursors.c.cursor).where(cursors.c.source == source).with_for_update()
        )

    def set_cursor(self, source: str, cursor: str) -> None:
        known = update(cursors).where(cursors.c.source == source).values(cursor=cursor)
        if not self.connection.execute(known).rowcount:
            self.connection.execute(insert(cursors).values(source=source, cursor=cursor))


def main(address: str, app: str, server: str | None = None) -> None:
    engine = create_engine(address)
    tables.create_all(engine)
    source = f"{app} {server or 'here'}"
    # One transaction: the cursor never speaks of what was not stored. Killed anywhere, the next run goes on from it.
    with RemoteJobSubmitter(app, server) as jobs, engine.begin() as connection:
        database = Database(connection)
        changes = jobs.changes(database.get_cursor(source))
        for settings in changes:
            values = {column: settings[field] for field, column in mapping.items()}
            record = database.get_record(settings["jobid"])
            if record:
                database.update(record, values)
            else:
                database.insert(values)
            print(settings["jobid"], settings["status"])
        database.set_cursor(source, changes.cursor)
    engine.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
