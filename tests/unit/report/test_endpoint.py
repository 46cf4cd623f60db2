"""The endpoint, asked over real sockets."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from dunlin.errors import DunlinError, ErrorKind
from dunlin.report.address import Address
from dunlin.report.endpoint import Endpoint
from dunlin.report.prometheus import Metrics

Said = tuple[int, dict[str, str], str]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    metrics = Metrics("1.2.3")
    metrics.count("copied_files", 4)
    made = Endpoint(metrics, Address("127.0.0.1", 0))
    yield made
    made.close()


def ask(endpoint: Endpoint, path: str = "/metrics", method: str = "GET", **headers: str) -> Said:
    connection = http.client.HTTPConnection(endpoint.address.host, endpoint.address.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def test_metrics_are_served(endpoint: Endpoint) -> None:
    status, headers, text = ask(endpoint)
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert "\ndunlin_copied_files_total 4.0\n" in text
    assert 'dunlin_build_info{python="' in text
    assert endpoint.url == f"http://127.0.0.1:{endpoint.address.port}/metrics"
    assert ask(endpoint, "/metrics?x=1")[0] == 200


def test_openmetrics_for_who_asks_for_it(endpoint: Endpoint) -> None:
    _, headers, text = ask(endpoint, Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert {family.name: family.type for family in read_openmetrics(text)}["dunlin_copied_files"] == "counter"


def test_there_is_nothing_else(endpoint: Endpoint) -> None:
    status, headers, text = ask(endpoint, "/")
    assert (status, "/metrics" in text) == (404, True)
    assert headers["Server"].strip() == "dunlin"
    assert ask(endpoint, method="HEAD")[2] == ""
    assert ask(endpoint, method="POST")[0] == 501


def test_one_who_says_nothing_holds_nobody_up(endpoint: Endpoint) -> None:
    with socket.create_connection((endpoint.address.host, endpoint.address.port), timeout=10) as idle:
        idle.sendall(b"GET /met")
        assert ask(endpoint)[0] == 200


def test_nothing_is_left_when_it_is_closed() -> None:
    before = set(threading.enumerate())
    endpoint = Endpoint(Metrics("1"), Address("127.0.0.1", 0))
    endpoint.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        ask(endpoint)
    again = Endpoint(Metrics("1"), endpoint.address)
    assert ask(again)[0] == 200
    again.close()


def test_an_address_in_use(endpoint: Endpoint) -> None:
    with pytest.raises(DunlinError) as raised:
        Endpoint(Metrics("1"), endpoint.address)
    assert raised.value.kind is ErrorKind.USAGE
    assert str(raised.value) == (
        f"cannot serve metrics at 127.0.0.1:{endpoint.address.port}: Address already in use; "
        "--metrics-addr names another address"
    )


@pytest.mark.parametrize(("host", "reason"), [
    ("192.0.2.1", "Cannot assign requested address"), ("no-such-host.invalid", "there is no such host here"),
])  # fmt: skip
def test_an_address_that_is_not_here(host: str, reason: str) -> None:
    with pytest.raises(DunlinError) as raised:
        Endpoint(Metrics("1"), Address(host, 0))
    assert (raised.value.kind, raised.value.reason) == (ErrorKind.USAGE, reason)


def test_ipv6() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        # A machine without it says so in one line.
        with pytest.raises(DunlinError, match="cannot serve metrics at"):
            Endpoint(Metrics("1"), Address("::1", 0))
        return
    endpoint = Endpoint(Metrics("1"), Address("::1", 0))
    assert endpoint.url.startswith("http://[::1]:")
    assert ask(endpoint)[0] == 200
    endpoint.close()
