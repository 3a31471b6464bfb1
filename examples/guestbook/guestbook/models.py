"""What the guestbook remembers."""

from datetime import UTC, datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from guestbook import db


class Entry(db.Model):
    """One line in the book."""

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(String(2000), default="", server_default="")
    written: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
