"""A catalogue that knows where it stands: its links and redirects are those of the whole site."""

from flask import Flask, redirect, request, url_for
from werkzeug.wrappers import Response

app = Flask(__name__)


@app.get("/up")
def up() -> str:
    """Tell that it is up."""
    return "up"


@app.get("/")
def index() -> str:
    """Show where the visitor comes from, and where the catalogue is."""
    style = url_for("static", filename="style.css")
    return f"catalogue for {request.remote_addr} at {url_for('index', _external=True)}, {style}"


@app.get("/home")
def home() -> Response:
    """Lead to the first page."""
    return redirect(url_for("index"))
