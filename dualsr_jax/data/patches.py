"""Training patches, drawn fresh and reproducibly.

Contract: `PatchSampler.batch(step)` depends on nothing but the scenes, the settings, the seed and
the step, so that a run resumes anywhere by asking for the next step. An epoch shows, for every
scene at every resize scale, `patches_per_image` patches in each of their 5 variants, in random
order; positions are drawn anew each epoch. The published code fixes the patches once and keeps
them for all epochs. Source: paper, training details.
"""

from collections.abc import Sequence

import numpy as np

from dualsr_jax.data.scenes import Scene
from dualsr_jax.ops.augment import NUM_VARIANTS
from dualsr_jax.ops.resize import imresize


class PatchSampler:
    """Draws batches of HR patches.

    Attributes:
        samples_per_epoch: patches x scales x variants x images.
        steps_per_epoch: whole batches an epoch.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        *,
        patch_size: int,
        batch_size: int,
        patches_per_image: int = 24,
        resize_scales: Sequence[float] = (1.0, 0.75, 0.5),
        window_bands: int | None = None,
        seed: int = 0,
    ) -> None:
        """Prepares the resized scenes.

        Args:
            scenes: training scenes, at least one.
            patch_size: height and width of an HR patch in pixels.
            batch_size: patches a batch.
            patches_per_image: patches of each scene and resize scale an epoch.
            resize_scales: each scene is shown at each of these sizes.
            window_bands: bands of a patch, a random contiguous window; None: all.
            seed: of everything that is drawn.

        Raises:
            ValueError: if a patch is larger than an image or its bands, or an epoch holds no batch.
        """
        self._images = []
        for scene in scenes:
            for scale in resize_scales:
                cube = scene.cube if scale == 1 else imresize(scene.cube, scale)
                if min(cube.shape[:2]) < patch_size:
                    raise ValueError(
                        f"patches of {patch_size}x{patch_size} pixels are larger than "
                        f"{scene.name} at resize scale {scale} ({cube.shape[0]}x{cube.shape[1]}): "
                        "lower config.train.lr_patch or drop the scale from train.resize_scales"
                    )
                self._images.append(cube)
        num_bands = self._images[0].shape[-1]
        self.num_bands = window_bands or num_bands
        if self.num_bands > num_bands:
            raise ValueError(f"window_bands={window_bands} is more than the {num_bands} bands")
        self._patch_size = patch_size
        self._batch_size = batch_size
        self._seed = seed
        self._per_image = patches_per_image * NUM_VARIANTS
        self.samples_per_epoch = len(self._images) * self._per_image
        self.steps_per_epoch = self.samples_per_epoch // batch_size
        if self.steps_per_epoch == 0:
            raise ValueError(
                f"a batch of {batch_size} is larger than an epoch of {self.samples_per_epoch} "
                "samples: lower train.batch_size or raise train.patches_per_image"
            )
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a step, counted from 0 over all epochs.

        Returns:
            "hr" float32 `[B, S, S, L]` and "variant" int32 `[B]`, see `ops.augment`.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, epoch])
            self._epoch, self._order = epoch, rng.permutation(self.samples_per_epoch)
        samples = self._order[place * self._batch_size : (place + 1) * self._batch_size]
        rng = np.random.default_rng([self._seed, epoch, place + 1])
        hr = np.stack([self._draw(int(sample), rng) for sample in samples])
        return {"hr": hr, "variant": (samples % NUM_VARIANTS).astype(np.int32)}

    def _draw(self, sample: int, rng: np.random.Generator) -> np.ndarray:
        cube = self._images[sample // self._per_image]
        size, bands = self._patch_size, self.num_bands
        row, column, band = (
            int(rng.integers(length - extent + 1))
            for length, extent in zip(cube.shape, (size, size, bands), strict=True)
        )
        return cube[row : row + size, column : column + size, band : band + bands]
