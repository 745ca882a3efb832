"""Addresses of the journal's pages."""

from django.urls import path

from commonfarm.journal import views

urlpatterns = [path("journal/", views.journal, name="journal")]
