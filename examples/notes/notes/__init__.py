"""Notes: an API, and the page that Vite has built."""

import sqlite3
from pathlib import Path

from flask import Flask, g, jsonify, request, send_from_directory

PAGE = Path(__file__).parents[1] / "frontend/dist"


def create_app():
    app = Flask(__name__, static_folder=None, instance_path=str(Path("instance").absolute()))

    def database():
        if "database" not in g:
            g.database = sqlite3.connect(Path(app.instance_path) / "notes.db", timeout=10)
            g.database.execute("pragma journal_mode = wal")
            g.database.execute("create table if not exists note (id integer primary key, text)")
        return g.database

    @app.teardown_appcontext
    def close(_):
        if "database" in g:
            g.pop("database").close()

    @app.get("/")
    def page():
        return send_from_directory(PAGE, "index.html")

    @app.get("/api/notes")
    def notes():
        return jsonify([text for (text,) in database().execute("select text from note")])

    @app.post("/api/notes")
    def add():
        with database() as transaction:
            transaction.execute("insert into note (text) values (?)", (request.form["text"],))
        return "", 201

    return app
