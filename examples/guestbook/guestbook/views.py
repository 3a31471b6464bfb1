"""The guestbook's pages."""

from flask import Blueprint, abort, redirect, render_template, request, url_for
from sqlalchemy import func, select

from guestbook import db
from guestbook.models import Entry

pages = Blueprint("pages", __name__)


@pages.get("/")
def book():
    """Show the newest entries and the form."""
    newest = db.session.scalars(select(Entry).order_by(Entry.id.desc()).limit(20)).all()
    return render_template(
        "book.html", entries=newest, count=db.session.scalar(select(func.count(Entry.id)))
    )


@pages.post("/")
def write():
    """Write an entry."""
    text = request.form.get("text", "").strip()
    if not text:
        abort(400, "an entry needs a text")
    db.session.add(Entry(text=text, author=request.form.get("author", "")))
    db.session.commit()
    return redirect(url_for("pages.book"), code=303)


@pages.get("/up")
def up():
    """Answer when the database does."""
    return {"entries": db.session.scalar(select(func.count(Entry.id)))}
