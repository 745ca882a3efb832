"""Addresses of the archive's pages."""

from django.urls import path

from commonfarm.archive import tree_views, views

urlpatterns = [
    path("trees/", tree_views.trees, name="trees"),
    path("trees/<str:name>", tree_views.tree, name="tree"),
    path("trees/<str:name>/files", tree_views.tree_files, name="tree-files"),
    path("trees/<str:name>/releases/<int:number>", tree_views.release, name="release"),
    path(
        "trees/<str:name>/releases/<int:number>/file", tree_views.release_file, name="release-file"
    ),
    path("unlisted/<str:token>/", tree_views.unlisted, name="unlisted"),
    path("unlisted/<str:token>/file", tree_views.unlisted_file, name="unlisted-file"),
    path("repositories/", views.repositories, name="repositories"),
    path("repositories/<str:name>", views.repository, name="repository"),
    path("keys/archive.asc", views.archive_key, name="archive-key"),
    path("keys/statements.pub", views.statements_key, name="statements-key"),
]
