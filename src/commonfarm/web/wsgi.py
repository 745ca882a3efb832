"""The WSGI application that the hub serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "commonfarm.web.settings")
application = get_wsgi_application()
