"""Where the jobs of a server can be kept: each sink stores what has changed together with the cursor that says so.

`pull(jobs, sink)` brings a sink up to date. What a sink needs (SQLAlchemy, psycopg) is imported when one is made.
"""

from remotejobs.sinks.database import Database, DatabaseSink, DatabaseWithCursor
from remotejobs.sinks.fields import FIELDS
from remotejobs.sinks.files import CSVSink, JSONLinesSink
from remotejobs.sinks.pulling import NotStored, Overtaken, Sink, pull
from remotejobs.sinks.sql import PostgreSQLSink, SQLiteSink
from remotejobs.sinks.table import TableSink

__all__ = [
    "FIELDS",
    "CSVSink",
    "Database",
    "DatabaseSink",
    "DatabaseWithCursor",
    "JSONLinesSink",
    "NotStored",
    "Overtaken",
    "PostgreSQLSink",
    "SQLiteSink",
    "Sink",
    "TableSink",
    "pull",
]
