"""The public names of what every context's API shares. Needs Django; the client does not."""

from commonfarm.http.api import build_api
from commonfarm.http.etag import check_if_match, etag_of
from commonfarm.http.pages import page, refusal
from commonfarm.http.pagination import Page, Paging, newest_first
from commonfarm.http.permissions import require
from commonfarm.http.problems import ProblemError, problem

__all__ = [
    "Page",
    "Paging",
    "ProblemError",
    "build_api",
    "check_if_match",
    "etag_of",
    "newest_first",
    "page",
    "problem",
    "refusal",
    "require",
]
