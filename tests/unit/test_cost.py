"""What a load costs, and the requests to S3 that it is charged for."""

from __future__ import annotations

import pytest

from orders_dask.cost import cost_of_load
from orders_dask.s3_requests import S3Requests, count_request, drain_requests
from orders_dask.step_metrics import StepMetrics


@pytest.mark.parametrize(
    ("operation", "charged"),
    [
        ("PutObject", S3Requests(puts=1)),
        ("ListObjectsV2", S3Requests(puts=1)),
        ("CreateMultipartUpload", S3Requests(puts=1)),
        ("UploadPart", S3Requests(puts=1)),
        ("CompleteMultipartUpload", S3Requests(puts=1)),
        ("GetObject", S3Requests(gets=1)),
        ("HeadObject", S3Requests(gets=1)),
        ("DeleteObjects", S3Requests()),
        ("AbortMultipartUpload", S3Requests()),
    ],
)
def test_a_request_is_counted_once_in_the_class_that_amazon_charges_for(
    operation: str, charged: S3Requests
) -> None:
    drain_requests()
    count_request(f"before-send.s3.{operation}")
    assert drain_requests() == charged
    assert drain_requests() == S3Requests()


def test_money_is_the_sum_of_what_has_a_price() -> None:
    metrics = {
        "decode": StepMetrics(10.0, 9.0, 3_000_000_000, get_requests=30),
        "stage": StepMetrics(2.0, 1.0, 500, put_requests=12),
        "load": StepMetrics(8.0, 2.0, 700, get_requests=10),
    }
    seconds = {"decode": 7.0, "load": 5.0, "verify": 1.0, "check": 0.5, "publish": 2.5}
    free = cost_of_load(seconds, metrics, {})
    assert (free.worker_cpu_seconds, free.database_seconds) == (12.0, 10.0)
    assert (free.bytes_read, free.bytes_staged, free.bytes_sent) == (3_000_000_000, 500, 700)
    assert (free.put_requests, free.get_requests, free.money) == (12, 40, None)
    hours = cost_of_load(seconds, metrics, {"worker_hour": 3600, "database_hour": 360})
    assert hours.money == pytest.approx(12 + 1)
    requests = cost_of_load(seconds, metrics, {"put_1000": 1, "get_1000": 2, "gigabyte": 0.5})
    assert requests.money == pytest.approx(0.012 + 0.08 + 1.5)
