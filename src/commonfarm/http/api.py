"""The API object that all contexts' routers are mounted on."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI, Router
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.schema import OpenAPISchema

from commonfarm import __version__
from commonfarm.http.idempotency import once
from commonfarm.http.permissions import AUTHENTICATION
from commonfarm.http.problems import MEDIA_TYPE, PROBLEM, answer, problem
from commonfarm.lib.errors import CommonfarmError, Reason


class Api(NinjaAPI):
    """The API, whose description names problem details as the answer to every refusal."""

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        """Return the OpenAPI document."""
        schema = super().get_openapi_schema(**options)
        schema["components"].setdefault("schemas", {})["Problem"] = PROBLEM
        refused = {
            "description": "Refused: why, and what would lift it (RFC 9457)",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for methods in schema["paths"].values():
            for operation in methods.values():
                for told in operation["responses"].values():
                    content = told.get("content", {})
                    shown = content.get("application/json", {}).get("schema", {})
                    if shown.get("format") == "binary":  # `response=bytes`: not JSON at all
                        content["*/*"] = content.pop("application/json")
                operation["responses"].update({"4XX": refused, "5XX": refused})
        return schema


def build_api(routers: dict[str, Router]) -> NinjaAPI:
    """Return the API with each router under its prefix; errors are problem details."""
    api = Api(
        title="Commonfarm",
        version=__version__,
        urls_namespace="api",
        auth=AUTHENTICATION,
        docs_url=None,
    )
    api.add_decorator(once, mode="view")
    for prefix, router in routers.items():
        api.add_router(prefix, router)

    api.exception_handler(CommonfarmError)(answer)

    @api.exception_handler(AuthenticationError)
    def _unauthenticated(request: HttpRequest, _error: AuthenticationError) -> HttpResponse:
        what, to_do = "nobody is signed in", "sign in, or send an API token"
        if "Authorization" in request.headers:
            what += ": the API token that was sent is unknown here, or has ended"
            to_do = "make one on the page Account of this hub, and send that"
        return problem(
            HTTPStatus.UNAUTHORIZED,
            Reason("not-signed-in", what, to_do),
            headers={"WWW-Authenticate": "Bearer"},
        )

    @api.exception_handler(ValidationError)
    def _invalid(_request: HttpRequest, error: ValidationError) -> HttpResponse:
        problems = [{"where": _where(one["loc"]), "what": one["msg"]} for one in error.errors]
        return problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            Reason("bad-input", "the request does not fit", "mend what `problems` names"),
            problems=problems,
        )

    @api.exception_handler(Http404)
    def _not_found(_request: HttpRequest, error: Http404) -> HttpResponse:
        return problem(
            HTTPStatus.NOT_FOUND, Reason("not-found", str(error) or "there is no such thing")
        )

    @api.exception_handler(HttpError)
    def _http_error(_request: HttpRequest, error: HttpError) -> HttpResponse:
        status = HTTPStatus(error.status_code)
        return problem(status, Reason(status.phrase.lower().replace(" ", "-"), str(error)))

    return api


def _where(place: Sequence[str | int]) -> str:
    """Return the member that is wrong as the caller wrote it, without our own parameter's name."""
    inside = place[2:] if place[:1] == ("body",) and len(place) > 2 else place[1:]
    return ".".join(map(str, inside)) or "body"
