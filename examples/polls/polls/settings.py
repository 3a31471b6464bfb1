"""The site's settings; what is secret and where the database is come from the environment."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).parents[1]
# A build has no secrets: it only collects files.
SECRET_KEY = os.environ.get("SECRET_KEY", "only for collectstatic")
ALLOWED_HOSTS = ["*"]  # the proxy lets in no other names than the site's
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.staticfiles",
    "board",
]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "polls.urls"
WSGI_APPLICATION = "polls.wsgi.application"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE_URL", "sqlite:///db.sqlite3").removeprefix("sqlite:///"),
        "OPTIONS": {"init_command": "PRAGMA journal_mode = WAL", "timeout": 10},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
