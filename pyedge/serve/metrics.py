"""Metrics for Prometheus, and the few of them that the page shows."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "pyedge_requests", "Requests answered", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "pyedge_request_seconds",
            "Seconds from a request's head to the end of its answer",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.contributions = Counter(
            "pyedge_contributions",
            "Answers to contributions, repeated ones included",
            ["state"],
            registry=self.registry,
        )
        self.images = Counter(
            "pyedge_knowledge_images", "Images that the teacher has seen", registry=self.registry
        )
        self.batches = Counter(
            "pyedge_knowledge_batches", "Batches that the teacher has seen", registry=self.registry
        )
        self.waiting = Gauge(
            "pyedge_knowledge_waiting", "Requests that wait for the teacher", registry=self.registry
        )
        self.running = Gauge("pyedge_requests_running", "Requests that run", registry=self.registry)

    def text(self) -> bytes:
        """Return all of them as Prometheus reads them."""
        return bytes(generate_latest(self.registry))

    def latency(self) -> dict[str, tuple[int, float, float]]:
        """Return of each route the number of answers, and bounds of their median and p99 in s."""
        found = {}
        for labels, histogram in _children(self.seconds):
            counts = histogram
            total = counts[-1][1]
            if total:
                found[labels] = (int(total), _quantile(counts, 0.5), _quantile(counts, 0.99))
        return found


def _children(histogram: Histogram) -> list[tuple[str, list[tuple[float, float]]]]:
    """Return the cumulated buckets of each route: (upper bound, answers up to it)."""
    buckets: dict[str, list[tuple[float, float]]] = {}
    for metric in histogram.collect():
        for sample in metric.samples:
            if sample.name.endswith("_bucket"):
                bound = float(sample.labels["le"])
                buckets.setdefault(sample.labels["route"], []).append((bound, sample.value))
    return sorted(buckets.items())


def _quantile(buckets: list[tuple[float, float]], share: float) -> float:
    wanted = share * buckets[-1][1]
    return next(bound for bound, count in buckets if count >= wanted)
