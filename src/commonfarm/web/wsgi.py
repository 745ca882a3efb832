"""The WSGI application that the hub serves."""

import os

from django.core.wsgi import get_wsgi_application
from granian.utils.proxies import wrap_wsgi_with_proxy_headers

from commonfarm.lib import config

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "commonfarm.web.settings")
application = wrap_wsgi_with_proxy_headers(
    get_wsgi_application(), list(config.current().public.trusted_proxies)
)
