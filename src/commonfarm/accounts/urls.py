"""Addresses of the accounts' pages."""

from django.urls import path

from commonfarm.accounts import account, views

urlpatterns = [
    path("sign-in/", views.sign_in, name="sign-in"),
    path("sign-out/", views.sign_out, name="sign-out"),
    path("account/", account.account, name="account"),
    path("account/tokens/", account.make_token, name="account-tokens"),
    path("account/tokens/<int:number>/revoke", account.revoke_token, name="account-revoke"),
]
