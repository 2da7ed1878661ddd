"""DualSR: both stages behind one object.

Contract: it takes NumPy cubes of any size and returns NumPy cubes. The networks are compiled once
per shape.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Float

from dualsr_jax.choices import MEMORY_GB, STORAGES
from dualsr_jax.disk import check_folder
from dualsr_jax.fine_stage import MAX_GAIN, back_project
from dualsr_jax.large_scene.kinds import check_unmasked, upscale
from dualsr_jax.models.network import (
    CoarseStage,
    Network,
    check_variables,
    make_model,
    settings_of,
)
from dualsr_jax.radiometry import Radiometry
from dualsr_jax.version import version
from dualsr_jax.weights.safetensors_file import (
    SUFFIX,
    find_weights,
    read_weights,
    weights_hash,
    write_weights,
)

Cube = Float[np.ndarray, "H W L"]
_NETWORKS = {"model", "half_model"}  # their names in files
_MAX_GAIN = "max_gain"  # its name in files
_FAR = 1.0  # outside [0, 1], beyond bicubic overshoot and noise: values that were not normalised


@dataclasses.dataclass(frozen=True)
class Result:
    """The cubes of both stages, `[s H, s W, L]`, not clipped, and the gain of each iteration.

    With a self-ensemble, `spread` is the standard deviation of the members' coarse results.
    """

    coarse: Cube
    fine: Cube
    gains: Float[np.ndarray, "iterations"]
    _: dataclasses.KW_ONLY
    spread: Cube | None = None


@dataclasses.dataclass(frozen=True)
class DualSR:
    """Super-resolution in two stages.

    The guide of the fine stage is a cube of half the scale: at scales 4 and 8 the result of `half`,
    or of `coarse` if it is joint. Without these, and at scales 2 and 3, it is the LR cube itself.

    Raises:
        ValueError: as `CoarseStage`.
    """

    coarse: Network
    half: Network | None = None
    _: dataclasses.KW_ONLY
    iterations: int = 1  # corrections by the fine stage
    ensemble: int = 1  # members of the self-ensemble, whose mean it corrects: 1 (off), 8 or 16
    max_gain: float = MAX_GAIN  # of the fine stage, in (0, 1]; stored with the weights

    def __post_init__(self) -> None:
        """Checks that the networks fit together."""
        _ = self.coarse_stage

    @functools.cached_property
    def coarse_stage(self) -> CoarseStage:
        """The networks, without the fine stage."""
        return CoarseStage(self.coarse, self.half, self.ensemble, self.max_gain)

    @property
    def scale(self) -> int:
        """Scale factor s."""
        return self.coarse.scale

    def guided_by(self, half: "DualSR") -> "DualSR":
        """Returns this object with the network of another one as `half`.

        Raises:
            ValueError: if this one has a half-scale network already or is joint, or the other does
                not have half the scale.
        """
        if self.half is not None:
            raise ValueError(
                "these weights hold the half-scale network too: leave out --half_weights"
            )
        return dataclasses.replace(self, half=half.coarse)

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the weights, as `save_pretrained` writes it."""
        return weights_hash(self.arrays())

    def __call__(self, lr: Cube) -> Result:
        """Super-resolves one cube `[H, W, L]`, in [0, 1] up to overshoot and noise.

        Raises:
            ValueError: if the array is masked, a pixel is NaN, infinite or far outside [0, 1], or
                there are fewer than 5 bands.
        """
        check_unmasked(lr)
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
        fine, gains = self.back_project(coarse, guide)
        return Result(coarse, np.asarray(fine), np.asarray(gains), spread=spread)

    def back_project(
        self, coarse: jax.Array | np.ndarray, guide: jax.Array | np.ndarray
    ) -> tuple[jax.Array, jax.Array]:
        """Applies the fine stage to a coarse result and its guide, as `fine_stage` says."""
        ratio, iterations = self.coarse_stage.ratio, self.iterations
        return back_project(
            coarse, guide, ratio=ratio, iterations=iterations, max_gain=self.max_gain
        )

    def upscale(
        self,
        cube: Any,
        *,
        peak: float | None = None,
        mtf: float | None = None,
        nodata: float | None = None,
        dtype: np.dtype | type | None = None,
        memory_gb: float = MEMORY_GB,
        axes: str | Sequence[str] | None = None,
        clip: str | None = None,
        consistent: int = 0,
    ) -> Any:
        """Super-resolves a cube of any size and range, tile by tile.

        The result is an array of the kind of the cube. Bands that are empty,
        constant or flagged are enlarged by bicubic interpolation and do not guide others; pixels
        without data stay pixels without data.

        Args:
            cube: array `[H, W, L]` of integers or floats, of NumPy, JAX or Dask, or an
                `xarray.DataArray` with dimensions y, x and bands in any order. What Dask has not
                computed stays so: the result is computed later, as one block.
            peak: stored value of full intensity; None applies the rule of
                `large_scene.normalisation`.
            mtf: modulation transfer at the Nyquist frequency, from 0.1 to below 1, of optics that
                blurred the cube, for which it is sharpened (`ops.sharpening`); None: it is not.
            nodata: stored value of pixels without data, besides NaN; None takes it from a
                DataArray.
            dtype: data type of the result; None keeps that of the cube. Integers are rounded and
                saturated.
            memory_gb: memory budget per device in GB; decides the tile size.
            axes: names of the axes of a NumPy array in their order, such as `band,y,x`, which
                those of the result keep; None: y, x, band. Pixels in one axis need the lengths of
                rows and columns, `band,y=95,x=80`; the result then has three axes.
            clip: "input" limits each value to the range of its band's 5x5 neighbourhood in the
                cube, "unit" to [0, 1] of full intensity; None does not clip.
            consistent: number of back-projections towards the cube, after which the result,
                reduced to its size, is the cube. One suffices if nothing is clipped.

        Raises:
            ValueError: if the cube is not of this kind or is a masked array, fewer than 5 bands
                are usable, `mtf`, axes or `dtype` do not fit, or `iterations` is not 1.
        """
        if self.iterations != 1:
            raise ValueError(
                f"upscale makes one correction by the fine stage, not {self.iterations}: set "
                "iterations=1, or call the object itself"
            )
        return upscale(
            self.coarse_stage,
            cube,
            nodata=nodata,
            axes=axes,
            peak=peak,
            mtf=mtf,
            dtype=None if dtype is None else np.dtype(dtype),
            memory_gb=memory_gb,
            radiometry=Radiometry(clip=clip, consistent=consistent),
        )

    @classmethod
    def from_pretrained(
        cls,
        weights: str | os.PathLike[str],
        *,
        ensemble: int = 1,
        band_chunk: int | None = 8,
        precision: str = "float32",
    ) -> "DualSR":
        """Reads a file of `save_pretrained`, also one that ships with the package.

        Args:
            weights: the file, `*.safetensors`, or the name of shipped weights, such as
                "cave_x4_small". Folders of training are read by `restore_dualsr`.
            ensemble: members of the self-ensemble: 1 (no ensemble), 8 or 16.
            band_chunk: bands processed at once, which bounds the memory; None means all bands.
            precision: data type of convolutions and products, "float32" or "bfloat16".

        Raises:
            FileNotFoundError: if there is no such file or name.
            ValueError: if the file is damaged, does not hold weights of DualSR, or belongs to a
                network that this version does not have.
        """
        path = find_weights(weights)
        if path is None:
            raise ValueError(f"{os.fspath(weights)!r} is a folder: read it with restore_dualsr")
        arrays, about = read_weights(path)
        networks: dict[str, Network] = {}
        for name in _NETWORKS & about.keys():
            own = {
                key.removeprefix(f"{name}/"): np.asarray(array, np.float32)
                for key, array in arrays.items()
                if key.startswith(f"{name}/")
            }
            try:
                model = make_model(dict(json.loads(about[name])))
                hash(model)  # as compiling does
                check_variables(model, own)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                reason = str(error).partition("\n")[0]
                raise ValueError(f"{str(path)!r}: {reason}") from error
            model = model.clone(band_chunk=band_chunk, precision=precision)
            variables = traverse_util.unflatten_dict(own, sep="/")
            networks[name] = Network(model, jax.device_put(variables))
        if "model" not in networks:
            raise ValueError(f"{os.fspath(weights)!r} holds weights, but not those of DualSR")
        half = networks.get("half_model")
        try:
            max_gain = float(about.get(_MAX_GAIN, MAX_GAIN))
            return cls(networks["model"], half, ensemble=ensemble, max_gain=max_gain)
        except ValueError as error:
            raise ValueError(f"{str(path)!r}: {error}") from error

    def _by_name(self) -> dict[str, Network]:
        networks = {"model": self.coarse}
        return networks if self.half is None else {**networks, "half_model": self.half}

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all variables of both networks, by names such as `model/params/conv/wn/v`."""
        variables = {name: network.variables for name, network in self._by_name().items()}
        flat = traverse_util.flatten_dict(variables, sep="/")
        return {name: np.asarray(value) for name, value in flat.items()}

    def save_pretrained(
        self,
        weights: str | os.PathLike[str],
        about: Mapping[str, str] | None = None,
        *,
        storage: str = "float32",
    ) -> None:
        """Writes both networks as one file, `*.safetensors`, which is replaced if it exists.

        `about` is text to store with them, by name, such as data and licence. The storage
        "bfloat16" takes half the space of "float32" and rounds the weights to 8 significant bits;
        `from_pretrained` gives float32 again.

        Raises:
            ValueError: if the storage is unknown, or the file has another suffix.
            FileNotFoundError: if the folder of the file does not exist.
            PermissionError: if the folder is read-only.
        """
        path = Path(weights).expanduser()
        if storage not in STORAGES:
            raise ValueError(f"unknown storage {storage!r}: expected one of {STORAGES}")
        if path.suffix != SUFFIX:
            raise ValueError(f"{str(path)!r}: the name of a weights file must end in {SUFFIX}")
        check_folder(path)
        settings = {
            name: json.dumps(settings_of(network.model))
            for name, network in self._by_name().items()
        }
        arrays = {name: array.astype(jnp.dtype(storage)) for name, array in self.arrays().items()}
        write_weights(
            path, arrays, {**(about or {}), **settings, _MAX_GAIN: json.dumps(float(self.max_gain))}
        )


def tags(dualsr: DualSR) -> dict[str, str]:
    """Returns model, weights, version, scale and other settings, for the metadata of a result.

    Weights are named by the first 16 digits of `DualSR.sha256`.
    """
    model = dualsr.coarse.model
    settings = {**settings_of(model), "precision": model.precision}
    described = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    found = {
        "dualsr_model": f"{type(model).__name__}({described})",
        "dualsr_weights": dualsr.sha256[:16],
        "dualsr_version": version(),
        "dualsr_scale": str(dualsr.scale),
    }
    if dualsr.ensemble > 1:
        found["dualsr_ensemble"] = str(dualsr.ensemble)
    if dualsr.max_gain != MAX_GAIN:
        found["dualsr_max_gain"] = str(dualsr.max_gain)
    return found
