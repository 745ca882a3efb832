"""Addresses of the mirrors' pages."""

from django.urls import path

from commonfarm.mirrors import views

urlpatterns = [
    path("mirrors/", views.mirrors, name="mirrors"),
    path("mirrors/<str:name>", views.mirror, name="mirror"),
]
