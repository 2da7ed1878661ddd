"""Strictness for the whole suite: two CPU devices, no implicit rank promotion, checked shapes."""

import os

os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=2"
    # Compiling takes most of the time of these tests, running next to none.
    " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)
os.environ["JAX_PLATFORMS"] = "cpu"

from jaxtyping import install_import_hook

install_import_hook("dualsr_jax", "typecheck.check")

import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# Many tests train the same tiny network anew; it is compiled once.
_CACHE = tempfile.TemporaryDirectory()
jax.config.update("jax_compilation_cache_dir", _CACHE.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)

ROOT = Path(__file__).parents[1]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def golden():
    """Reads `tests/golden/<name>.npz`."""

    def read(name):
        with np.load(ROOT / "tests" / "golden" / f"{name}.npz", allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}

    return read


def with_prefix(arrays, prefix):
    """The entries `prefix/name`, by name."""
    return {
        k.removeprefix(prefix + "/"): v for k, v in arrays.items() if k.startswith(prefix + "/")
    }
