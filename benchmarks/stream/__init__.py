"""The worker from broker to broker: throughput, latency over load, and peers in the same run."""
