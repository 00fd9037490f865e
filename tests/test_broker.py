"""Brokers of tests do not get into each other's way."""

from tests.broker import free_ports


def test_no_port_is_given_twice() -> None:
    """Nothing listens at a node's ports while those of the next one are chosen."""
    ports = [port for _ in range(300) for port in free_ports(3)]

    assert len(set(ports)) == len(ports)
