"""Addresses of the archive's pages."""

from django.urls import path

from commonfarm.archive import views

urlpatterns = [
    path("repositories/", views.repositories, name="repositories"),
    path("repositories/<str:name>", views.repository, name="repository"),
    path("keys/archive.asc", views.archive_key, name="archive-key"),
    path("keys/statements.pub", views.statements_key, name="statements-key"),
]
