"""Addresses of the estate's pages."""

from django.urls import path

from commonfarm.estate import views

urlpatterns = [
    path("estate/", views.overview, name="estate"),
    path("estate/hosts/", views.hosts, name="estate-hosts"),
    path("estate/hosts/<str:name>", views.host, name="estate-host"),
    path("estate/services/", views.services, name="estate-services"),
    path("estate/services/<str:name>", views.service, name="estate-service"),
    path("estate/pledges/", views.pledges, name="estate-pledges"),
    path("estate/forecast/", views.forecast, name="estate-forecast"),
    path("estate/forecast/curve.svg", views.curve, name="estate-curve"),
    path("estate/wanted/", views.wanted, name="estate-wanted"),
    path("estate/map.svg", views.picture, name="estate-map"),
    path("estate/changes/", views.changes, name="estate-changes"),
    path("sponsors/", views.sponsors, name="sponsors"),
    path("sponsors/logos/<str:name>", views.logo, name="sponsor-logo"),
]
