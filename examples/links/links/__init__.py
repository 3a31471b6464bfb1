"""Short links."""

import os
import tomllib
from pathlib import Path

from flask import Flask, abort, redirect, request
from sqlalchemy import Column, MetaData, String, Table, create_engine, event, insert, select

metadata = MetaData()
link = Table(
    "link",
    metadata,
    Column("name", String(50), primary_key=True),
    Column("target", String(2000), nullable=False),
)


def create_app():
    app = Flask(__name__)
    settings = tomllib.loads(Path("config.toml").read_text(encoding="utf-8"))
    app.secret_key = settings["secret"]
    engine = create_engine(os.environ["DATABASE_URL"])

    @event.listens_for(engine, "connect")
    def use_wal(connection, _):
        # Two releases work on it while versions change.
        if engine.dialect.name == "sqlite":
            connection.execute("pragma journal_mode = wal")

    @app.get("/")
    def index():
        with engine.connect() as connection:
            names = connection.execute(select(link.c.name)).scalars()
            return settings["title"] + ": " + " ".join(sorted(names))

    @app.get("/up")
    def up():
        with engine.connect() as connection:
            connection.execute(select(link.c.name).limit(1))
        return "ok"

    @app.post("/")
    def add():
        with engine.begin() as connection:
            connection.execute(
                insert(link).values(name=request.form["name"], target=request.form["target"])
            )
        return "", 201

    @app.get("/<name>")
    def follow(name):
        with engine.connect() as connection:
            target = connection.execute(select(link.c.target).where(link.c.name == name)).scalar()
        return redirect(target) if target else abort(404)

    return app
