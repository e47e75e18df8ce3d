"""/metrics, for Prometheus: what was counted as it happened, and how the store stands now.

Counts come from all processes of this machine; the state comes from the store, so it is the same whoever is asked. It is
asked of the store every 15 seconds at most, however many scrape.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Count, Min, Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

import redshank
from redshank import counters
from redshank.archive.models import EventRecord
from redshank.banks import quarantine
from redshank.cases.models import Case
from redshank.enforcement.models import Action, Delivery
from redshank.web.health import may_see
from redshank.web.permissions import open_to

KEPT = 15.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_lock = threading.Lock()
_kept: tuple[float, list[Metric]] | None = None


@require_safe
@open_to("anyone")
def metrics(request: HttpRequest) -> HttpResponse:
    """For the bearer of `metrics_token`; where none is set, for this machine alone."""
    if not may_see(request):
        response = HttpResponse("Send the metrics_token as a bearer token.\n", status=401, content_type="text/plain")
        response["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return response
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_State())
    return HttpResponse(counters.exposition() + generate_latest(registry), content_type=CONTENT_TYPE)


class _State(Collector):
    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("redshank_build", "This version.", value={"version": redshank.__version__})
        yield GaugeMetricFamily(
            "redshank_disk_free_bytes", "Free bytes in data_dir.", value=shutil.disk_usage(settings.DATA_DIR).free
        )
        try:
            found = _looked_up()
        except DatabaseError:
            yield GaugeMetricFamily("redshank_store_up", "1 where the store answers.", value=0)
            return
        yield GaugeMetricFamily("redshank_store_up", "1 where the store answers.", value=1)
        yield from found


def _looked_up() -> list[Metric]:
    global _kept  # noqa: PLW0603 - one answer a process
    with _lock:
        if _kept is None or time.monotonic() - _kept[0] > KEPT:
            _kept = (time.monotonic(), list(_look()))
        return _kept[1]


def _look() -> Iterator[Metric]:
    now = timezone.now()
    cases = GaugeMetricFamily("redshank_cases_waiting", "Open cases.", labels=["queue"])
    overdue = GaugeMetricFamily("redshank_cases_overdue", "Open cases past their deadline.", labels=["queue"])
    queues = Case.objects.filter(state=Case.State.OPEN).values_list("queue").order_by("queue")
    for queue, number, late in queues.annotate(number=Count("pk"), late=Count("pk", filter=Q(deadline__lt=now))):
        cases.add_metric([queue], number)
        overdue.add_metric([queue], late)
    yield cases
    yield overdue

    actions = GaugeMetricFamily("redshank_actions", "Actions, by where they stand.", labels=["state", "verb"])
    standing = Action.objects.values_list("state", "verb").order_by("state", "verb")
    for action_state, verb, number in standing.annotate(Count("pk")):
        actions.add_metric([action_state, verb], number)
    yield actions

    outbox = GaugeMetricFamily("redshank_outbox", "Letters of the outbox that are pending or dead.", labels=["state"])
    kept = (Delivery.State.PENDING, Delivery.State.DEAD)
    counted = dict(Delivery.objects.filter(state__in=kept).values_list("state").annotate(Count("pk")))
    for state in kept:
        outbox.add_metric([state.value], counted.get(state.value, 0))
    yield outbox
    pending = Delivery.objects.filter(state=Delivery.State.PENDING)
    oldest = pending.aggregate(at=Min("action__requested_at"))["at"]
    yield GaugeMetricFamily(
        "redshank_outbox_oldest_seconds",
        "Age of the oldest action that has yet to be taken.",
        value=max(0.0, (now - oldest).total_seconds()) if oldest else 0,
    )

    yield GaugeMetricFamily(
        "redshank_entries_quarantined",
        "Entries of banks that suddenly match too much, and wait for a person.",
        value=quarantine.quarantined().count(),
    )

    waiting = EventRecord.objects.filter(state=EventRecord.State.WAITING)
    found = waiting.aggregate(number=Count("pk"), due=Min("due_at"))
    yield GaugeMetricFamily("redshank_events_waiting", "Events that wait for their media.", value=found["number"])
    yield GaugeMetricFamily(
        "redshank_events_waiting_late_seconds",
        "How long the event that waits longest is past its time.",
        value=max(0.0, (now - found["due"]).total_seconds()) if found["due"] else 0,
    )
