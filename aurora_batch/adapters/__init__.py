"""Edges: files, memory, Kafka, and the embedded broker."""
