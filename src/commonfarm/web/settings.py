"""Django's settings, all of them derived from the installation's configuration."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from commonfarm.lib.config import current

COMMONFARM = current()


def _secret_key() -> str:
    """Read the key if this process may; one that may not (the signer) gets a key of no use."""
    try:
        return COMMONFARM.secret_key_file.read_text(encoding="ascii").strip()
    except OSError:
        return secrets.token_urlsafe(50)


SECRET_KEY = _secret_key()
DEBUG = False
PUBLIC = urlsplit(COMMONFARM.public_url("hub"))
ALLOWED_HOSTS = [
    f"[{name}]" if ":" in name else name
    for name in ("127.0.0.1", "localhost", COMMONFARM.listen.address, str(PUBLIC.hostname))
]
# A browser behind a proxy that ends TLS names the https origin, which is not what the hub sees.
CSRF_TRUSTED_ORIGINS = [f"{PUBLIC.scheme}://{PUBLIC.netloc}"]
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django_htmx",
    "procrastinate.contrib.django",
    "commonfarm.journal",
    "commonfarm.accounts",
    "commonfarm.http",
    "commonfarm.guard",
    "commonfarm.store",
    "commonfarm.estate",
    "commonfarm.fleet",
    "commonfarm.archive",
    "commonfarm.farm",
    "commonfarm.mirrors",
    "commonfarm.installation",
    "commonfarm.web",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "commonfarm.web.middleware.ContentSecurityPolicy",
    "commonfarm.web.middleware.ProblemDetails",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "commonfarm.web.urls"
WSGI_APPLICATION = "commonfarm.web.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "commonfarm.web.context.navigation",
            ],
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": COMMONFARM.database.host,
        "PORT": COMMONFARM.database.port,
        "NAME": COMMONFARM.database.name,
        "USER": COMMONFARM.database.user,
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    }
}
AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "overview"
SESSION_COOKIE_NAME = f"commonfarm-{COMMONFARM.name}"
CSRF_COOKIE_NAME = f"commonfarm-csrf-{COMMONFARM.name}"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC.scheme == "https"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
STATIC_URL = "/static/"  # served by `web.assets`; Django itself only looks at the prefix
CSRF_FAILURE_VIEW = "commonfarm.web.views.forbidden"
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 2**20
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    # Django's own handlers are for DEBUG and mail; what fails here goes to the process's log.
    "loggers": {
        "commonfarm": {"level": "INFO"},
        "procrastinate.worker": {"level": "INFO"},
        "django": {"handlers": [], "level": "WARNING"},
        "django.request": {"level": "ERROR"},
    },
}
