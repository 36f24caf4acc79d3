"""Addresses where no Ray cluster is: one line, and soon."""

import socket
import time

import pytest

from bench.errors import UserError
from bench.running import join

ray = pytest.importorskip("ray")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 (Connection refused): is its head running?"),
        ("no-such-host.invalid:6379", "no Ray cluster answers at no-such-host.invalid:6379 ("),
        ("node1", "--address node1: give HOST:PORT, such as node1:6379, or auto"),
        ("node1:port", "--address node1:port: give HOST:PORT"),
        ("ray://node1:10001", "--address ray://node1:10001: run this command on a node of the cluster"),
    ],
)
def test_where_no_cluster_can_be(address, message, monkeypatch):
    monkeypatch.setattr(join, "WAIT_S", 1.0)
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        join.start(ray, address)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    assert time.monotonic() - began < 60 and not ray.is_initialized()


def test_auto_means_the_address_of_the_environment(monkeypatch):
    monkeypatch.setattr(join, "WAIT_S", 0.1)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"answers at 127\.0\.0\.1:1 "):
        join.start(ray, "auto")


def test_a_head_that_starts_is_waited_for(monkeypatch):
    monkeypatch.setattr(join, "WAIT_S", 60.0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # refuses until it listens
        monkeypatch.setattr(time, "sleep", lambda _: server.listen())
        join._reach(f"127.0.0.1:{server.getsockname()[1]}")
