"""Fixtures of the cluster's tests: the profiles, what they render to, and KubeRay's definitions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cluster
from cluster.profile import Profile, read_profile
from cluster.render import render
from tests.live_ray import LiveRay

PROFILES = Path(cluster.__file__).parent / "profiles"
SCHEMAS = Path(__file__).resolve().parents[3] / "shared" / "schemas"


@pytest.fixture(scope="session")
def schemas() -> Path:
    """KubeRay's custom resource definitions, kept beside the project: they are large and another project's."""
    if not SCHEMAS.is_dir():
        pytest.skip("KubeRay's definitions are absent: expected the folder ../shared/schemas beside the project")
    return SCHEMAS


@pytest.fixture(scope="session")
def profiles() -> dict[str, Profile]:
    """Every profile that comes with the project, by its file's stem."""
    return {path.stem: read_profile(path) for path in sorted(PROFILES.glob("*.yaml"))}


@pytest.fixture(scope="session")
def rendered(profiles: dict[str, Profile]) -> dict[str, Any]:
    """Every file of every profile, by name."""
    return {name: content for profile in profiles.values() for name, content in render(profile).items()}


@pytest.fixture(scope="session")
def live_ray() -> Iterator[LiveRay]:
    """A head of a cluster that asks for a token, with a dashboard; starting it takes a while."""
    ray = LiveRay()
    try:
        ray.await_dashboard()
        yield ray
    finally:
        ray.end()
