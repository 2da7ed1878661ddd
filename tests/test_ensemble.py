import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualsr_jax.dualsr import DualSR
from dualsr_jax.ensemble import View, ensemble, views
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.network import Network
from dualsr_jax.ops.resize import imresize


def by_hand(run, lr, members):
    """All members, with np.rot90 and one mirror in place of transposition and flips."""
    for order, mirror, turns in itertools.product((1, -1)[: members // 8], (1, -1), range(4)):
        seen = np.rot90(lr[:, ::mirror, ::order], turns, (0, 1))
        yield np.rot90(run(seen), -turns, (0, 1))[:, ::mirror, ::order]


def uneven(lr):
    """A made-up network of scale 2 that no view leaves alone."""
    weight = np.cumsum(np.ones_like(lr), 0) + 3 * np.cumsum(lr, 1) + 0.1 * np.cumsum(lr, 2)
    return np.repeat(np.repeat(lr * weight, 2, 0), 2, 1)


@pytest.mark.parametrize("members", [8, 16])
@pytest.mark.parametrize("shape", [(4, 4, 5), (3, 6, 6)])
def test_mean_and_spread_are_those_of_the_members(rng, members, shape):
    lr = rng.random(shape)
    every = np.stack(list(by_hand(uneven, lr, members)))
    assert len(every) == members
    (mean, twice), spread = ensemble(lambda x: (uneven(x), 2 * uneven(x)), lr, members)
    np.testing.assert_allclose(twice, 2 * mean, rtol=1e-12)
    np.testing.assert_allclose(mean, every.mean(0), rtol=1e-12)
    np.testing.assert_allclose(spread, every.std(0), rtol=1e-9, atol=1e-12)
    assert ensemble(lambda x: (x,), lr, 1)[1] is None


@pytest.mark.parametrize("shape", [(5, 7, 6), (2, 6, 6, 5)])
def test_views_are_undone_and_all_differ(rng, shape):
    cube = rng.random(shape)
    for view in views(16):
        np.testing.assert_array_equal(view.undo(view.apply(cube)), cube)
    seen = {views(16)[k].apply(cube[..., :5, :5, :]).tobytes() for k in range(16)}
    assert len(seen) == 16
    assert views(8) == tuple(view for view in views(16) if not view.reverse_bands)
    assert views(1) == (View(),)


def test_an_equivariant_network_has_no_spread(rng):
    lr = jnp.asarray(rng.random((5, 7, 6)), jnp.float32)
    (mean,), spread = ensemble(lambda x: (imresize(x, 2),), lr, 16)
    assert isinstance(mean, jax.Array)
    np.testing.assert_allclose(mean, imresize(lr, 2), atol=1e-6)
    assert float(spread.max()) < 1e-6
    (mean,), spread = ensemble(lambda x: (x,), lr, 8)
    np.testing.assert_array_equal(mean, lr)
    assert float(spread.max()) == 0


def test_dualsr_averages_both_coarse_networks(rng, monkeypatch):
    def network(model, variables, lr):  # in place of one to compile
        return 0.1 * imresize(uneven(lr), model.scale / 2) + variables["level"]

    monkeypatch.setattr(
        Network, "__call__", lambda self, lr: (network(self.model, self.variables, lr),)
    )
    lr = rng.random((4, 5, 5)).astype(np.float32)
    model, half, level, half_level = CoarSR(4), CoarSR(2), {"level": 0.3}, {"level": 0.7}
    result = DualSR(Network(model, level), Network(half, half_level), ensemble=8)(lr)
    members = np.stack(list(by_hand(lambda x: network(model, level, x), lr, 8)))
    np.testing.assert_allclose(result.coarse, members.mean(0), rtol=1e-5)
    np.testing.assert_allclose(result.spread, members.std(0), rtol=1e-3, atol=1e-5)
    guide = np.mean(list(by_hand(lambda x: network(half, half_level, x), lr, 8)), 0)
    correction = float(result.gains[0]) * (guide - imresize(members.mean(0), 1 / 2))
    assert np.abs(correction).max() > 1e-3
    np.testing.assert_allclose(result.fine, members.mean(0) + imresize(correction, 2), rtol=1e-4)
    assert DualSR(Network(model, level))(lr).spread is None


def test_other_numbers_of_members_are_refused():
    with pytest.raises(ValueError, match="ensemble of 4 members is unknown: expected 1"):
        views(4)
    with pytest.raises(ValueError, match="ensemble of 0 members"):
        DualSR(Network(CoarSR(2), {}), ensemble=0)
