"""Django's settings, all derived from Redshank's own (`redshank settings` lists those)."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

import dj_database_url

from redshank.core import Problem
from redshank.web.config import read_settings


def _secret(data_dir: Path, configured: str) -> str:
    if configured:
        if len(configured) < 32:
            raise Problem("shorter than 32 characters", where="secret_key")
        return configured
    path = data_dir / "secret_key"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".secret_key.{os.getpid()}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(48))
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)  # Atomic, and never over a key that another process made meanwhile.
        fresh.unlink()
    return path.read_text().strip()


REDSHANK = read_settings()
DATA_DIR = Path(REDSHANK.data_dir).absolute()
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(DATA_DIR / "metrics")  # Before anything counts.

SECRET_KEY = _secret(DATA_DIR, REDSHANK.secret_key)
DEBUG = False
ALLOWED_HOSTS = list(REDSHANK.allowed_hosts)
ROOT_URLCONF = "redshank.web.urls"
WSGI_APPLICATION = "redshank.web.wsgi.application"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "people.User"
APPEND_SLASH = False

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "django_htmx",
    "redshank.people",
    "redshank.policies",
    "redshank.audit",
    "redshank.archive",
    "redshank.banks",
    "redshank.exchanges",
    "redshank.rules",
    "redshank.hma",
    "redshank.campaigns",
    "redshank.evasion",
    "redshank.intake",
    "redshank.enforcement",
    "redshank.cases",
    "redshank.peers",
    "redshank.web",
]

MIDDLEWARE = [
    "redshank.web.middleware.headers",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
CSRF_FAILURE_VIEW = "redshank.web.views.common.stale_form"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],  # before allauth's own
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "redshank.web.context.console",
            ],
        },
    },
]

_database = dj_database_url.parse(REDSHANK.database or f"sqlite:///{DATA_DIR / 'redshank.sqlite3'}")
if _database["ENGINE"] == "django.db.backends.sqlite3":
    _database["ENGINE"] = "redshank.web.sqlite3"
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",  # A writer waits at its start, never half-way.
        "timeout": 30,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=8000; "
            "PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY;"
        ),
    }
else:
    _database["CONN_MAX_AGE"] = 60
    _database["CONN_HEALTH_CHECKS"] = True
DATABASES = {"default": _database}

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
ACCOUNT_ADAPTER = "redshank.web.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = False
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = REDSHANK.https
SECURE_HSTS_SECONDS = 31_536_000 if REDSHANK.https else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if REDSHANK.https else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = REDSHANK.ingest.max_body_bytes
FILE_UPLOAD_HANDLERS = [
    "redshank.web.uploads.Capped",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
LOGGING_CONFIG = None
