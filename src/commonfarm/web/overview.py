"""The first page: what needs a person today, what runs now, what ended last."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from commonfarm.http.interface import page


@page()
def overview(request: HttpRequest) -> HttpResponse:
    """Show the installation at a glance."""
    return render(request, "web/overview.html")
