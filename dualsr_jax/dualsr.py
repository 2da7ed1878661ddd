"""DualSR: both stages behind one object.

Contract: takes NumPy cubes of any size, gives NumPy cubes. The coarse network is compiled once a
shape.
"""

import dataclasses
import functools
import importlib.metadata
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Float

from dualsr_jax.fine_stage import back_project
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.large_scene.in_memory import upscale_array, upscale_labelled
from dualsr_jax.large_scene.tiling import MEMORY_GB
from dualsr_jax.models.network import CoarseStage, Network, make_model, settings_of
from dualsr_jax.weights.safetensors_file import (
    SUFFIX,
    find_weights,
    read_weights,
    weights_hash,
    write_weights,
)

Cube = Float[np.ndarray, "H W L"]
STORAGES = ("float32", "bfloat16")  # of weights in a file
_NETWORKS = {"model", "half_model"}  # their names in files
_FAR = 1.0  # outside [0, 1], beyond bicubic overshoot and noise: values that nobody has divided
Resized = Float[np.ndarray, "_ _ L"]


def _check_unmasked(cube: Any) -> None:
    if isinstance(cube, np.ma.MaskedArray):
        raise ValueError(
            "a plain NumPy array is expected, got a masked one: give "
            "upscale(cube.filled(x), nodata=x), with a value x that no valid pixel has"
        )


@dataclasses.dataclass(frozen=True)
class Result:
    """Both stages' cubes `[s H, s W, L]`, not clipped, and the gain of each iteration.

    With a self-ensemble also the standard deviation of the members' coarse results.
    """

    coarse: Cube
    fine: Cube
    gains: Float[np.ndarray, "iterations"]
    spread: Cube | None = None


@dataclasses.dataclass(frozen=True)
class DualSR:
    """Super-resolution in two stages.

    The fine stage is guided by a cube of half the scale: the result of `half_model` for scales 4
    and 8, the LR cube itself for 2. Scale 3 has no half scale and is guided by the LR cube with
    ratio 3.

    Attributes:
        coarse: the network; a joint network also makes the guide.
        half: a network of half the scale, or None.
        iterations: corrections by the fine stage.
        ensemble: members of the self-ensemble: 1 (no ensemble), 8 or 16, see `ensemble.views`. The
            mean of the networks' results goes into the fine stage.

    Raises:
        ValueError: if `half` does not fit to `coarse`, or the ensemble is unknown.
    """

    coarse: Network
    half: Network | None = None
    _: dataclasses.KW_ONLY
    iterations: int = 1
    ensemble: int = 1

    def __post_init__(self) -> None:
        """Checks that the networks fit together."""
        _ = self.coarse_stage

    @functools.cached_property
    def coarse_stage(self) -> CoarseStage:
        """The networks, without the fine stage."""
        return CoarseStage(self.coarse, self.half, self.ensemble)

    @property
    def scale(self) -> int:
        """Scale factor s."""
        return self.coarse.scale

    def guided_by(self, half: "DualSR") -> "DualSR":
        """The same with a network of half the scale for the fine stage.

        Raises:
            ValueError: if there is one already, or the other does not have half the scale.
        """
        if self.half is not None:
            raise ValueError(
                "these weights hold the half-scale network too: leave out --half_weights"
            )
        return dataclasses.replace(self, half=half.coarse)

    def __call__(self, lr: Cube) -> Result:
        """Super-resolves one cube.

        Args:
            lr: `[H, W, L]`, in [0, 1] up to overshoot and noise.

        Raises:
            ValueError: if a pixel is masked, NaN, infinite or far outside [0, 1], or there are
                fewer than 5 bands.
        """
        _check_unmasked(lr)
        lr = np.asarray(lr, np.float32)
        broken = int(lr.size - np.isfinite(lr).sum())
        if broken:
            raise ValueError(f"{broken} pixels are NaN or infinite: fill them or drop the bands")
        if lr.min() < -_FAR or lr.max() > 1 + _FAR:
            raise ValueError(
                f"values from {lr.min():g} to {lr.max():g} are not in [0, 1]: divide the cube by "
                "the value of full intensity first"
            )
        coarse, guide, spread = self.coarse_stage(lr)
        ratio = self.coarse_stage.ratio
        fine, gains = back_project(coarse, guide, ratio=ratio, iterations=self.iterations)
        return Result(coarse, np.asarray(fine), np.asarray(gains), spread)

    def upscale(
        self,
        cube: Any,
        *,
        peak: float | None = None,
        nodata: float | None = None,
        dtype: np.dtype | type | None = None,
        memory_gb: float = MEMORY_GB,
    ) -> Any:
        """Super-resolves a cube of any size and range, tile by tile; it comes back as what it was.

        Bands that are empty, constant or flagged are enlarged by bicubic interpolation and do not
        guide others; pixels without data stay so.

        Args:
            cube: NumPy array `[H, W, L]` of integers or floats, or an `xarray.DataArray` with
                dimensions y, x and bands in any order.
            peak: stored value of full intensity; None: by rule, see `preprocessing`.
            nodata: stored value of pixels without data, besides NaN; None: as a DataArray says.
            dtype: of the result; None: that of the cube.
            memory_gb: for a tile.

        Returns:
            Of the same type, `s` times as high and wide; integers are rounded and saturated.

        Raises:
            ValueError: if it is no such cube or a masked array, fewer than 5 bands are usable, or
                this object makes another number of corrections than one.
        """
        _check_unmasked(cube)
        if self.iterations != 1:
            raise ValueError(
                f"upscale makes one correction by the fine stage, not {self.iterations}: set "
                "iterations=1, or call the object itself"
            )
        settings: Any = {
            "peak": peak,
            "dtype": None if dtype is None else np.dtype(dtype),
            "memory_gb": memory_gb,
        }
        if isinstance(cube, np.ndarray):
            return upscale_array(self.coarse_stage, cube, Metadata(nodata=nodata), **settings)
        if not hasattr(cube, "dims"):
            raise ValueError(
                f"a NumPy array or an xarray.DataArray is expected, got {type(cube).__name__}"
            )
        return upscale_labelled(self.coarse_stage, cube, nodata=nodata, **settings)

    @classmethod
    def from_pretrained(
        cls,
        weights: str | os.PathLike[str],
        *,
        ensemble: int = 1,
        band_chunk: int | None = 8,
        precision: str = "float32",
    ) -> "DualSR":
        """Both stages from a file of `save_pretrained`, or from one that ships with the package.

        Args:
            weights: the file, `*.safetensors`, or the name of shipped weights, such as
                "cave_x4_small". Folders of training are read by `restore_dualsr`.
            ensemble: members of the self-ensemble.
            band_chunk: bands at once, bounds the memory; None: all.
            precision: "float32" or "bfloat16", of convolutions and products.

        Raises:
            FileNotFoundError: if there is no such file or name.
            ValueError: if it is damaged or of something else.
        """
        path = find_weights(weights)
        if path is None:
            raise ValueError(f"{os.fspath(weights)!r} is a folder: restore_dualsr reads those")
        arrays, about = read_weights(path)
        networks: dict[str, Network] = {}
        for name in _NETWORKS & about.keys():
            model = make_model(json.loads(about[name]))
            found = {
                tuple(path.split("/")[1:]): np.asarray(array, np.float32)
                for path, array in arrays.items()
                if path.startswith(f"{name}/")
            }
            variables = jax.device_put(traverse_util.unflatten_dict(found))
            model = model.clone(band_chunk=band_chunk, precision=precision)
            networks[name] = Network(model, variables)
        if "model" not in networks:
            raise ValueError(f"{os.fspath(weights)!r} holds weights, but not those of DualSR")
        return cls(networks["model"], networks.get("half_model"), ensemble=ensemble)

    def _by_name(self) -> dict[str, Network]:
        networks = {"model": self.coarse}
        return networks if self.half is None else {**networks, "half_model": self.half}

    def arrays(self) -> dict[str, np.ndarray]:
        """All variables of both networks, by names such as `model/params/conv/wn/v`."""
        return {
            "/".join((name, *path)): np.asarray(value)
            for name, network in self._by_name().items()
            for path, value in traverse_util.flatten_dict(network.variables).items()
        }

    def save_pretrained(
        self,
        weights: str | os.PathLike[str],
        about: Mapping[str, str] | None = None,
        *,
        storage: str = "float32",
    ) -> None:
        """Writes both networks as one file, for `from_pretrained`.

        Args:
            weights: the file to write, `*.safetensors`; replaced if it exists.
            about: text by name to keep with them, such as data and licence.
            storage: "float32", or "bfloat16", which takes half the space and rounds the weights
                to 8 bits; they are float32 again when they are read.

        Raises:
            ValueError: for another storage, or a file of another suffix.
        """
        if storage not in STORAGES:
            raise ValueError(f"unknown storage {storage!r}: expected one of {STORAGES}")
        if Path(weights).suffix != SUFFIX:
            raise ValueError(f"{os.fspath(weights)!r}: a file of weights is called *{SUFFIX}")
        settings = {
            name: json.dumps(settings_of(network.model))
            for name, network in self._by_name().items()
        }
        arrays = {name: array.astype(jnp.dtype(storage)) for name, array in self.arrays().items()}
        write_weights(Path(weights), arrays, {**(about or {}), **settings})


def version() -> str:
    """Of this package."""
    try:
        return importlib.metadata.version("dualsr-jax")
    except importlib.metadata.PackageNotFoundError:
        return "unknown, not installed"


def tags(dualsr: DualSR) -> dict[str, str]:
    """Model, weights, version and scale, for the metadata of a result.

    Weights are named by the first 16 digits of the SHA-256 that `DualSR.save_pretrained` writes.
    """
    model = dualsr.coarse.model
    settings = {**settings_of(model), "precision": model.precision}
    described = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    found = {
        "dualsr_model": f"{type(model).__name__}({described})",
        "dualsr_weights": weights_hash(dualsr.arrays())[:16],
        "dualsr_version": version(),
        "dualsr_scale": str(dualsr.scale),
    }
    if dualsr.ensemble > 1:
        found["dualsr_ensemble"] = str(dualsr.ensemble)
    return found
