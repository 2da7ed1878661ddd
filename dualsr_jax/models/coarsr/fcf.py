"""FCF, feature context fusion: the linear recurrence over bands.

Contract: S_0 = d_0; S_i = conv1x1(concat(gamma[0] d_i, gamma[1] S_{i-1})). Only the product with
S_{i-1} is sequential; the product with d_i is computed for all bands at once, outside the scan.
Source: paper, section on feature context fusion.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Bool, Float

from dualsr_jax.models.layers import WeightNorm, add_bias

State = Float[jax.Array, "B H W C"]


def recurrence(
    state: State,
    d: Float[jax.Array, "K B H W C"],
    from_d: Float[jax.Array, "K B H W C"],
    first: Bool[jax.Array, "K"],
    from_state: Float[jax.Array, "C C"],
    *,
    through_time: bool,
) -> tuple[State, Float[jax.Array, "K B H W C"]]:
    """S_i = d_i where a band is the first of its cube, else from_d_i + S_{i-1} @ from_state."""

    def step(state: State, band: tuple) -> tuple[State, State]:
        d_i, from_d_i, first_i = band
        if not through_time:
            state = jax.lax.stop_gradient(state)
        state = jnp.where(first_i, d_i, from_d_i + state @ from_state)
        return state, state

    return jax.lax.scan(step, state, (d, from_d, first))


class FCF(nn.Module):
    """Carries the state over the bands it is given."""

    @nn.compact
    def __call__(
        self,
        state: State,
        d: Float[jax.Array, "K B H W C"],
        first: Bool[jax.Array, "K"],
        *,
        through_time: bool = False,
    ) -> tuple[State, Float[jax.Array, "K B H W C"]]:
        """Runs the recurrence over the features `d` of K bands; returns the last and all states.

        `state` is that after the band before these; it is not used if `first[0]`, as S = d where a
        band is the first of its cube. With `through_time`, gradients flow to earlier bands;
        published training cuts them.
        """
        c = d.shape[-1]
        gamma = self.param("gamma", nn.initializers.ones, (2,))
        kernel, bias = WeightNorm((1, 1, 2 * c, c), name="wn")()
        from_state = gamma[1] * kernel[0, 0, c:]
        from_d = add_bias(d @ (gamma[0] * kernel[0, 0, :c]), bias)

        return recurrence(state, d, from_d, first, from_state, through_time=through_time)
