"""Where everything is."""

from django.urls import URLPattern, URLResolver, path

from commonfarm.http.interface import build_api

api = build_api({})

urlpatterns: list[URLPattern | URLResolver] = [path("api/v1/", api.urls)]
