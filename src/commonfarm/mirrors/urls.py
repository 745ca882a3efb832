"""Addresses of the mirrors' pages. A mirror's own have no slash at their end, the others do."""

from django.urls import path

from commonfarm.mirrors import override_pages, running, views

urlpatterns = [
    path("mirrors/", views.mirrors, name="mirrors"),
    path("mirrors/downloads/", views.downloads, name="mirror-downloads"),
    path("mirrors/downloads/days.svg", views.days, name="mirror-days"),
    path("mirrors/releases/", views.releases, name="mirror-releases"),
    path("mirrors/releases/<str:tree>/<int:revision>.svg", views.release, name="mirror-release"),
    path("mirrors/files/", views.files, name="mirror-files"),
    path("mirrors/explain/", views.explain, name="mirror-explain"),
    path("mirrors/overrides/", override_pages.change, name="mirror-overrides"),
    path("mirrors/public/", views.public, name="mirror-list"),
    path("mirrors/register/", running.register, name="mirror-register"),
    path("mirrors/<str:name>", running.mirror, name="mirror"),
    path("mirrors/<str:name>/edit", running.edit, name="mirror-edit"),
    path("mirrors/<str:name>/logo", views.logo, name="mirror-logo"),
]
