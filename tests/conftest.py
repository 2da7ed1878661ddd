"""Strictness for the whole suite: two CPU devices, no implicit promotion, checked shapes."""

import os
import signal
import tempfile

os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=2"
    # Compiling takes most of the time of these tests, running next to none. The last two flags
    # reduce the compile time of a training step from 6.8 s to 2.2 s.
    " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
os.environ["JAX_PLATFORMS"] = "cpu"

# Many tests, and the processes they start, train the same tiny network anew; it is compiled once.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # workers inherit what the first process sets
    _CACHE = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**30)  # with one, JAX locks the folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

from jaxtyping import install_import_hook

install_import_hook("dualsr_jax", "typecheck.check")

import jax
import numpy as np
import optax
import pytest
from support.files import ROOT
from support.methods import SMALL_METHODS

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def promoting(function):
    """A function of optax, which mixes integers and floats as NumPy does."""

    def promoted(*args, **more):
        with jax.numpy_dtype_promotion("standard"):
            return function(*args, **more)

    return promoted


def with_promotion(make):
    """Makes the same optimiser or schedule as `make` does, one that may mix number types."""

    def made(*args, **settings):
        found = make(*args, **settings)
        if isinstance(found, optax.GradientTransformation):
            return optax.GradientTransformation(found.init, promoting(found.update))
        return promoting(found)

    return made


for name in ("adam", "exponential_decay", "cosine_decay_schedule", "linear_schedule"):
    setattr(optax, name, with_promotion(getattr(optax, name)))


@pytest.fixture(autouse=True)
def time_limit():
    """Raises in a test that waits for what does not come, again if its clean-up waits too."""

    def expire(number, frame):
        raise TimeoutError("this test has taken longer than 15 minutes")

    signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, 900, 60)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


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


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Four smooth scenes, 20x17 pixels, 6 bands."""
    from dualsr_jax.ops.resize import imresize  # not before the hook above

    path = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c", "test"):
        scene = imresize(rng.random((7, 6, 6)), 2.9)[:20, :17].clip(0, 1)
        np.save(path / f"{name}.npy", (scene * 65535).astype(np.uint16))
    (path / "split.txt").write_text("[test]\ntest\n")
    return path


@pytest.fixture
def make_config(folder):
    """Makes configs of tiny runs; `changes` name fields as `train__batch_size`."""
    from dualsr_jax import recipe  # not before the hook above

    def make(scale="2", epochs=0.4, method="CoarSR", **changes):
        c = recipe.defaults(method)
        c.model.scale = int(scale)
        if method == "CoarSR":
            c.model.features, c.model.num_asfm, c.model.num_blocks = 4, 1, 1
        else:
            c.model.update(SMALL_METHODS[method])
            c.train.update_every = "band" if method == "SFCSR" else "image"
        c.data.name = "cave"
        c.data.path, c.data.split = str(folder), str(folder / "split.txt")
        c.train.epochs, c.train.batch_size, c.train.lr_patch = epochs, 2, 4
        c.train.patches_per_image, c.train.resize_scales = 2, (1.0,)
        c.train.save_every_epochs, c.train.log_every_steps = 0.2, 1
        c.evaluate.bands = (1, 6)
        c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
        return c

    return make
