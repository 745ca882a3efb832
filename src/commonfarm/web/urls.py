"""Where everything is: each room's pages and API, mounted."""

from importlib import import_module
from importlib.util import find_spec

from django.urls import URLPattern, URLResolver, include, path

from commonfarm.http.interface import build_api
from commonfarm.web import assets, overview, views
from commonfarm.web.api import router as live

ROOMS = ("accounts", "journal", "estate", "fleet", "archive", "farm", "mirrors")
api = build_api(
    {"": live}
    | {
        room: import_module(f"commonfarm.{room}.api").router
        for room in ROOMS
        if find_spec(f"commonfarm.{room}.api")
    }
)

if find_spec("commonfarm.farm.api"):
    api.add_router("agent", import_module("commonfarm.farm.api").agent_router)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", overview.overview, name="overview"),
    *(
        path("", include(f"commonfarm.{room}.urls"))
        for room in ROOMS
        if find_spec(f"commonfarm.{room}.urls")
    ),
    path("static/<slug:digest>/<path:name>", assets.serve, name="asset"),
    path("api/v1/", api.urls),
]

handler400 = views.bad_request
handler403 = views.permission_denied
handler404 = views.not_found
handler500 = views.broken
