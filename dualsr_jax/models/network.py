"""Networks with their weights: the seam between the methods and everything that uses them.

Contract: a method is a Flax module with an entry in `METHODS`. It has the attributes `scale`,
`scales` (the scale factors of its results, its own first), `num_bands` (None if its weights suit
any number), `min_bands`, `min_side`, `keeps_size`, `features`, `precision`, `band_chunk` and
`joint`; the property `reach` (LR pixels, or "global" if every pixel depends on the whole image);
the methods `held_maps`, `apply(variables, lr, bicubic)` and, for all its scales, `apply(variables,
lr, method="at_scales")`. Cubes of `apply` are `[B, h, w, L]`. A method that restores bands one
after another also has `band_table`, `partition`, `initial_state` and `bands`, whose results are
added to the bicubic images if `adds_bicubic`. All others see a tile with all its bands. Outside
`models` and `weights`, code works with `Network` and `CoarseStage` and does not name the module of
a method.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Float

from dualsr_jax.choices import PRECISIONS
from dualsr_jax.ensemble import ensemble, views
from dualsr_jax.fine_stage import MAX_GAIN, check_max_gain
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.compared.base import GLOBAL, Compared
from dualsr_jax.models.compared.edsr import EDSR
from dualsr_jax.models.compared.ercsr import ERCSR
from dualsr_jax.models.compared.essaformer import ESSAformer
from dualsr_jax.models.compared.fcnn3d import FCNN3D
from dualsr_jax.models.compared.mcnet import MCNet
from dualsr_jax.models.compared.sfcsr import SFCSR
from dualsr_jax.models.compared.sspsr import SSPSR

__all__ = [
    "BAND_MEAN",
    "METHODS",
    "PRECISIONS",
    "CoarseStage",
    "Model",
    "Network",
    "check_size_kept",
    "check_variables",
    "fitted",
    "make_model",
    "method_of",
    "num_parameters",
    "settings_of",
]

Cube = Float[np.ndarray, "H W L"]
Enlarged = Float[np.ndarray, "_ _ L"]

Model: TypeAlias = CoarSR | Compared
_DEFAULT_METHOD = "CoarSR"  # of settings that name no method, as in files of older versions
METHODS: dict[str, type[Model]] = {
    _DEFAULT_METHOD: CoarSR,
    "3D-FCNN": FCNN3D,
    "EDSR": EDSR,
    "SSPSR": SSPSR,
    "MCNet": MCNet,
    "SFCSR": SFCSR,
    "ERCSR": ERCSR,
    "ESSAformer": ESSAformer,
}
BAND_MEAN = "band_mean"  # the parameter that holds the means of the bands, and is not trained
# Attributes that weights do not depend on.
_FREE_SETTINGS = ("band_chunk", "precision", "parent", "name")
# Settings of networks of older versions, with the value at which they had no effect.
_FORMER_SETTINGS = {"bidirectional": False}


def make_model(settings: Mapping[str, Any]) -> Model:
    """Builds the model that settings describe.

    Args:
        settings: attributes by name, such as those of `settings_of`, also of older versions, and
            `method`, a key of `METHODS`, which is "CoarSR" if it is missing.

    Raises:
        ValueError: if they describe a network that this version does not have.
    """
    method = settings.get("method", _DEFAULT_METHOD)
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: expected one of {', '.join(METHODS)}")
    made = METHODS[method]
    known = {field.name for field in dataclasses.fields(made)} - {"parent", "name"}
    given: dict[str, Any] = {
        # Files hold lists for tuples.
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
        if name != "method"
    }
    for name in set(given) - known:
        if name not in _FORMER_SETTINGS or given[name] != _FORMER_SETTINGS[name]:
            raise ValueError(
                f"these weights belong to a network with {name}={given[name]!r}, which this "
                "version of dualsr_jax does not have: use the version that wrote them"
            )
    return made(**{name: value for name, value in given.items() if name in known})


def method_of(model: Model) -> str:
    """The key of a model's class in `METHODS`."""
    return next(name for name, method in METHODS.items() if type(model) is method)


def settings_of(model: Model) -> dict[str, Any]:
    """The attributes of a model that its weights depend on, by name.

    Those of the compared methods begin with `method`; those of CoarSR have no such key, so that
    files of all versions are alike.
    """
    method = method_of(model)
    settings = {} if method == _DEFAULT_METHOD else {"method": method}
    for field in dataclasses.fields(model):
        if field.name not in _FREE_SETTINGS:
            settings[field.name] = getattr(model, field.name)
    return settings


def fitted(model: Model, num_bands: int) -> Model:
    """Returns a model for cubes of a number of bands, which may be part of its settings.

    Raises:
        ValueError: if the model is for cubes of another number of bands.
    """
    if isinstance(model, Compared) and model.needs_num_bands and model.num_bands is None:
        model = model.clone(num_bands=num_bands)
    if model.num_bands not in (None, num_bands):
        raise ValueError(
            f"{method_of(model)} is made for {model.num_bands} bands, but {num_bands} are given, "
            "those flagged as bad left out: train a network for these"
        )
    if num_bands < model.min_bands:
        raise ValueError(
            f"{method_of(model)} needs {model.min_bands} bands or more, but {num_bands} are given"
        )
    return model


def check_size_kept(model: Model) -> None:
    """Raises ValueError if the result of a model is smaller than the enlarged image."""
    if not model.keeps_size:
        raise ValueError(
            f"{method_of(model)} with pad='valid' gives smaller images and can only be applied: "
            "use pad='symmetric', which has the same weights"
        )


def num_parameters(params: Mapping[str, Any]) -> int:
    """The number of trained parameters in a tree; means of bands are constants."""
    trained = [leaf for name, leaf in params.items() if name != BAND_MEAN]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(trained))


def check_variables(model: Model, variables: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError unless variables, by name, are those of a model, in its shapes."""
    settings = settings_of(model)
    if type(model.scale) is not int:
        raise ValueError(f"scale {model.scale!r} is not supported: expected an integer")
    layers = (n for name, n in settings.items() if name.startswith("num_") and name != "num_bands")
    if math.prod(layers) > len(variables):  # else a made-up number of layers takes for ever
        raise ValueError(f"{len(variables)} arrays are too few for a network with {settings}")
    smallest = (1, 8, 8, model.num_bands or model.min_bands)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros(smallest, np.float32))
    expected = {k: v.shape for k, v in traverse_util.flatten_dict(shapes, sep="/").items()}
    found = {name: array.shape for name, array in variables.items()}
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            raise ValueError(
                f"its weights are not those of the network that it describes: the shape of {name} "
                f"is {found.get(name, 'missing')}, expected {expected.get(name, 'no array')}"
            )


@functools.partial(jax.jit, static_argnums=0)
def _at_scales(model: Model, variables: Any, lr: jax.Array) -> tuple[jax.Array, ...]:
    return cast(tuple[jax.Array, ...], model.apply(variables, lr, method="at_scales"))


@dataclasses.dataclass(frozen=True)
class Network:
    """A Flax module and its variables, `{"params": ..., "batch_stats": ...}`."""

    model: Model
    variables: Mapping[str, Any] = dataclasses.field(repr=False)

    @property
    def scale(self) -> int:
        """Scale factor s."""
        return self.model.scale

    def __call__(self, lr: Cube) -> tuple[Enlarged, ...]:
        """Enlarges a cube, float32 in [0, 1], by each of the model's `scales`.

        The results are not clipped. The network is compiled once per shape. Raises ValueError if
        the cube has fewer than `model.min_bands` bands.
        """
        cubes = _at_scales(self.model, self.variables, lr[None])
        return tuple(np.asarray(cube[0]) for cube in cubes)

    def with_settings(self, **settings: Any) -> "Network":
        """Returns the same network with another `band_chunk` or `precision`."""
        return Network(self.model.clone(**settings), self.variables)


@dataclasses.dataclass(frozen=True)
class CoarseStage:
    """The network that makes the coarse result, and what makes the guide of the fine stage.

    The guide is the half-scale result of the network itself if it is joint, the result of `half`, a
    network of half the scale, if there is one, and the LR cube otherwise. The self-ensemble has 1
    (no ensemble), 8 or 16 members. `max_gain`, in (0, 1], says how far the fine stage may follow
    the guide. Raises ValueError if `half` does not have half the scale of `coarse`, or is given
    although `coarse` is joint, the ensemble is unknown, or `max_gain` is not in its range.
    """

    coarse: Network
    half: Network | None = None
    ensemble: int = 1
    max_gain: float = MAX_GAIN

    def __post_init__(self) -> None:
        """Checks that the networks fit together."""
        check_max_gain(self.max_gain)
        reverses = any(view.reverse_bands for view in views(self.ensemble))
        for network in self.networks:
            check_size_kept(network.model)
            if reverses and getattr(network.model, "needs_num_bands", False):
                raise ValueError(
                    f"an ensemble of {self.ensemble} reverses the bands, but the weights of "
                    f"{method_of(network.model)} belong to each band: take an ensemble of 8"
                )
        if self.half is None:
            return
        if self.coarse.model.joint:
            raise ValueError(
                "this network is joint and restores the half scale itself: leave out --half_weights"
            )
        if 2 * self.half.scale != self.coarse.scale:
            raise ValueError(
                f"the half-scale network has scale {self.half.scale}, but the network has scale "
                f"{self.coarse.scale}: give weights of half that scale"
            )

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks: one, or two with `half`."""
        return (self.coarse,) if self.half is None else (self.coarse, self.half)

    @property
    def scale(self) -> int:
        """Scale factor s of the result."""
        return self.coarse.scale

    @property
    def ratio(self) -> int:
        """Grid factor of the guide: pixels of the result per pixel of the guide, along a side."""
        return 2 if self.half is not None or self.coarse.model.joint else self.scale

    @property
    def band_by_band(self) -> bool:
        """Whether all networks restore bands one after another, with a state in between."""
        return all(hasattr(network.model, "bands") for network in self.networks)

    @property
    def untiled(self) -> str | None:
        """The method whose every pixel depends on the whole image; None: tiles can be computed."""
        whole = [n.model for n in self.networks if n.model.reach == GLOBAL]
        return method_of(whole[0]) if whole else None

    def check_bands(self, num_bands: int) -> None:
        """Raises ValueError if a network does not take cubes of this number of bands."""
        for network in self.networks:
            fitted(network.model, num_bands)

    def coarse_and_guide(self, lr: Cube) -> tuple[Enlarged, Enlarged]:
        """Returns the coarse result of one cube, and the guide, without self-ensemble."""
        coarse, *guide = self.coarse(lr)
        if self.half is not None:
            guide = [self.half(lr)[0]]
        return coarse, guide[0] if guide else lr

    def __call__(self, lr: Cube) -> tuple[Enlarged, Enlarged, Enlarged | None]:
        """Runs the networks on one cube, float32 in [0, 1], with self-ensemble.

        Returns:
            The coarse result `[s H, s W, L]`; the guide, `ratio` times smaller; and the standard
            deviation of the ensemble's coarse results, or None without an ensemble.
        """
        (coarse, guide), spread = ensemble(self.coarse_and_guide, lr, self.ensemble)
        return coarse, guide, spread
