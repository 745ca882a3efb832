"""Addresses of the accounts' pages."""

from django.urls import path

from commonfarm.accounts import views

urlpatterns = [
    path("sign-in/", views.sign_in, name="sign-in"),
    path("sign-out/", views.sign_out, name="sign-out"),
]
