"""The ASGI application that the live process serves: see `sse.py`."""

import os

from django import setup

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "commonfarm.web.settings")
setup()

from commonfarm.lib.config import current  # noqa: E402
from commonfarm.web.sse import Live  # noqa: E402

application = Live(current())
