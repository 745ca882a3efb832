"""Addresses of the farm's pages."""

from django.urls import path

from commonfarm.farm import views

urlpatterns = [
    path("builds/", views.builds, name="builds"),
    path("builds/<int:build_id>", views.build, name="build"),
    path("jobs/<int:job_id>", views.job, name="job"),
    path("jobs/<int:job_id>/cancel", views.cancel, name="job-cancel"),
    path("jobs/<int:job_id>/retry", views.retry, name="job-retry"),
]
