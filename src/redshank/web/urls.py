from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from redshank.web import health, hma, metrics, peers, taxii
from redshank.web.api import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
    path("api/v1/peers/<str:what>", peers.answer, name="peers_answer"),
    path("api/v1/", api.urls),
    *hma.urlpatterns,
    *taxii.urlpatterns,
    path("", include("redshank.web.console_urls")),
]

handler400 = "redshank.web.views.common.bad_request"
handler403 = "redshank.web.views.common.forbidden"
handler404 = "redshank.web.views.common.not_found"
handler429 = "redshank.web.views.common.too_many"  # asked by allauth
handler500 = "redshank.web.views.common.broken"
