"""A guestbook: the smallest application that has everything a deployment must get right."""

import os
import sqlite3
from typing import Any

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.engine import Engine

db = SQLAlchemy()
migrate = Migrate()


@event.listens_for(Engine, "connect")
def _write_ahead(connection: Any, _: Any) -> None:
    """Let no reader of SQLite wait for its writer: two releases may serve at once."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA journal_mode = WAL")


def create_app() -> Flask:
    """Make the application; its settings come from the environment alone."""
    app = Flask(__name__)
    app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
    db.init_app(app)
    migrate.init_app(app, db)

    from guestbook.views import pages

    app.register_blueprint(pages)
    return app
