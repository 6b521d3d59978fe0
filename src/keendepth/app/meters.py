"""What `/metrics` says, in Prometheus' text format: requests, seconds, batches, the queue, memory."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from keendepth.app.jobs import Gate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 32)


class Meters:
    """The figures of one server, in a registry of their own."""

    def __init__(self, gate: Gate) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "keendepth_requests", "Answers by route and status", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "keendepth_request_seconds", "Time to answer", ("route",), buckets=SECONDS, registry=self.registry
        )
        self.pictures = Counter(
            "keendepth_pictures", "Pictures that were worked on", ("model", "refiner"), registry=self.registry
        )
        self.batches = Histogram(
            "keendepth_batch_size", "Pictures that shared a run of a model", buckets=BATCHES, registry=self.registry
        )
        inside = Gauge("keendepth_requests_inside", "Requests being worked on", registry=self.registry)
        inside.set_function(lambda: gate.inside)
        room = Gauge("keendepth_requests_limit", "Requests that may be inside", registry=self.registry)
        room.set(gate.most)
        refused = Gauge("keendepth_refused_busy", "Requests turned away because it was full", registry=self.registry)
        refused.set_function(lambda: gate.refused)

    def batch(self, size: int) -> None:
        self.batches.observe(size)

    def text(self) -> bytes:
        return generate_latest(self.registry)
