"""Fixtures that more than one room uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before PyTorch is imported, and for every process that tests start. Models of tests are tiny: with more threads, which
# wait for each other by spinning, they are a hundred times slower on a machine that has anything else to do.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real and rendered recordings, kept beside the project; they are not the project's to distribute."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared recordings are absent: expected the folder ../shared/data beside the project")
    return SHARED_DATA


STORE_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="session")
def ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One local Ray with four logical CPUs for the whole test session; starting it takes seconds.

    Its workers take their environment from here: they may use `s3_server`, and keep what they fetch in a folder of the
    session.
    """
    import ray

    from mouse_facelift.capture.fetch import CACHE_VARIABLE
    from pipelines.session import connect

    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.1"
    with pytest.MonkeyPatch.context() as environment:
        for name, value in STORE_CREDENTIALS.items():
            environment.setenv(name, value)
        environment.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("fetched")))
        connect(num_cpus=4)
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def ray_address(ray_session: None) -> str:
    """Where a process of its own joins the session's Ray, as `RAY_ADDRESS`: one that is killed, for example."""
    import ray

    return ray.get_runtime_context().gcs_address


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server on this machine with a bucket named "lab"; gives the options that its URIs end in."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in STORE_CREDENTIALS.items():
            environment.setenv(name, value)
        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="lab")
        yield f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    server.stop()
