"""What WSGI servers and the flask command load: wsgi:app."""

from guestbook import create_app

app = create_app()
