"""Where everything is: each room's pages and API, mounted."""

from django.urls import URLPattern, URLResolver, include, path

from commonfarm.accounts.api import router as accounts
from commonfarm.archive.api import router as archive
from commonfarm.estate.api import router as estate
from commonfarm.farm.api import agent_router as agent
from commonfarm.farm.api import router as farm
from commonfarm.fleet.api import router as fleet
from commonfarm.http.interface import build_api
from commonfarm.journal.api import router as journal
from commonfarm.mirrors.api import override_router as overrides
from commonfarm.mirrors.api import router as mirrors
from commonfarm.store.api import router as store
from commonfarm.web import assets, overview, views
from commonfarm.web.api import router as live

api = build_api(
    {
        "": live,
        "accounts": accounts,
        "agent": agent,
        "archive": archive,
        "estate": estate,
        "farm": farm,
        "fleet": fleet,
        "journal": journal,
        "mirrors/overrides": overrides,  # before what has a mirror's name in its place
        "mirrors": mirrors,
        "store": store,
    }
)

ROOMS_WITH_PAGES = ("accounts", "archive", "estate", "farm", "fleet", "journal", "mirrors")

urlpatterns: list[URLPattern | URLResolver] = [
    path("", overview.overview, name="overview"),
    *(path("", include(f"commonfarm.{room}.urls")) for room in ROOMS_WITH_PAGES),
    path("static/<slug:digest>/<path:name>", assets.serve, name="asset"),
    path("api/v1/", api.urls),
]

handler400 = views.bad_request
handler403 = views.permission_denied
handler404 = views.not_found
handler500 = views.broken
