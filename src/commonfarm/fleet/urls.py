"""Addresses of the builders' pages."""

from django.urls import path

from commonfarm.fleet import views

urlpatterns = [
    path("builders/", views.builders, name="builders"),
    path("builders/<slug:name>", views.builder, name="builder"),
]
