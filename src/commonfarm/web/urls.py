"""Where everything is: each room's pages and API, mounted."""

from django.urls import URLPattern, URLResolver, include, path

from commonfarm.accounts.api import router as accounts
from commonfarm.http.interface import build_api
from commonfarm.journal.api import router as journal
from commonfarm.web import assets, overview, views
from commonfarm.web.api import router as live

api = build_api({"": live, "accounts": accounts, "journal": journal})

urlpatterns: list[URLPattern | URLResolver] = [
    path("", overview.overview, name="overview"),
    path("", include("commonfarm.accounts.urls")),
    path("", include("commonfarm.journal.urls")),
    path("static/<slug:digest>/<path:name>", assets.serve, name="asset"),
    path("api/v1/", api.urls),
]

handler400 = views.bad_request
handler403 = views.permission_denied
handler404 = views.not_found
handler500 = views.broken
