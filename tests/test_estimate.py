"""The time that a scene will take, as it is said before the start."""

from types import SimpleNamespace

import jax
import pytest
from support.scenes import Memory, small_networks, smooth

from dualsr_jax.large_scene import estimate, windows
from dualsr_jax.large_scene.first_pass import FirstPass
from dualsr_jax.large_scene.normalisation import plan, scan
from dualsr_jax.large_scene.tiling import Tiling
from dualsr_jax.models.multiply_adds import multiply_adds


def test_an_estimate_is_the_work_over_the_speed(rng, monkeypatch):
    cube, dualsr = smooth(rng, 60, 64, 7), small_networks(4, "half", ensemble=8)
    source, networks = Memory(cube), dualsr.coarse_stage.networks
    scene = FirstPass(
        source=source,
        normalisation=plan(scan(source), source.dtype, source.metadata, peak=1.0),
        stage=dualsr.coarse_stage,
        tiling=Tiling((45, 49), 2),
    )
    monkeypatch.setattr(estimate, "convolution_speed", lambda: 1e9)
    work = multiply_adds(networks[0].model, 7, height=180, width=196)
    work += multiply_adds(networks[1].model, 7, height=90, width=98)
    assert jax.device_count() == 2
    # Three tiles take two devices as long as four; networks are half as fast as convolutions.
    expected = 4 * 8 * work / (0.5 * 1e9)
    assert estimate.estimated_s(scene, 3) == pytest.approx(expected)


def test_the_speed_is_that_of_what_was_computed(monkeypatch):
    looks = iter([0, 1 / 16, 0, 1 / 8, 0, 1 / 4])  # of 2, 4 and 8 convolutions
    clock = SimpleNamespace(perf_counter=lambda: next(looks))
    monkeypatch.setattr(windows, "time", clock)
    windows.convolution_speed.cache_clear()
    found = windows.convolution_speed()
    windows.convolution_speed.cache_clear()
    assert found == 2 * 8 * 128 * 128 * 9 * 32 * 32 / 0.25


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.1, "less than 10 s"),
        (44, "about 40 s"),
        (94, "about 90 s"),
        (96, "about 2 minutes"),
        (25 * 60, "about 25 minutes"),
        (95 * 60, "about 1.6 hours"),
    ],
)
def test_durations_in_words(seconds, words):
    assert estimate.in_words(seconds) == words
