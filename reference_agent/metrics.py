"""What the agent counts, in the Prometheus text format."""

from __future__ import annotations

from collections import Counter as Counts

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """One registry per application, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.active = Gauge("agent_active_calls", "Calls with an open media stream.", registry=self.registry)
        self.calls = Counter("agent_calls", "Calls by how they ended.", ["outcome"], registry=self.registry)
        self.frames = Counter(
            "agent_frames", "Frames of callers by what became of them.", ["fate"], registry=self.registry
        )
        self.gate = Counter("agent_gate_events", "Rare events at the response gate.", ["event"], registry=self.registry)
        self.refused = Counter("agent_refused", "Requests and streams refused.", ["why"], registry=self.registry)
        self.first_audio = Histogram(
            "agent_first_audio_seconds",
            "From response.create to the first audio for the caller.",
            buckets=(0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5),
            registry=self.registry,
        )

    def count_frames(self, counts: Counts[str]) -> None:
        """Add the frames of a finished call."""
        for fate, number in counts.items():
            self.frames.labels(fate).inc(number)

    def text(self) -> bytes:
        """Return all metrics."""
        return generate_latest(self.registry)
