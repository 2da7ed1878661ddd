"""The input pipeline: training patches, drawn fresh and reproducibly.

Contract: a batch depends on the images, the settings, the seed and the number of the step only, so
that a run can resume at any step. Several processes draw equal shares of every batch; which samples
a batch has does not depend on their number.

An epoch shows, for every scene at every resize scale, `patches_per_image` patches in each of their
5 variants (`ops.augment`), in random order. Positions are drawn anew for every variant and epoch,
or with `fixed_patches` only once, as in the published code. The training step makes everything
else from the HR patches. Source: paper, training details.
"""

import os
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from dualsr_jax.data.images import Images
from dualsr_jax.ops.augment import NUM_VARIANTS

Batch = dict[str, np.ndarray]
_EPOCHS = 2**24  # more than any run has; without end, grain's number of samples overflows


class PatchSampler:
    """Draws batches of HR patches.

    `num_bands` is that of a patch; `samples_per_epoch` and `steps_per_epoch`, in whole batches, are
    the length of an epoch.
    """

    def __init__(
        self,
        images: Images,
        *,
        patch_size: int,
        batch_size: int,
        patches_per_image: int = 24,
        fixed_patches: bool = False,
        window_bands: int | None = None,
        seed: int = 0,
    ) -> None:
        """Plans the epochs.

        A patch has `patch_size` HR pixels along a side, at most those of the smallest image, and
        `window_bands` neighbouring bands, chosen at random; None means all bands, of which all
        images must then have the same number. A batch of all processes together holds
        `batch_size` patches. Raises ValueError if a patch has more bands than an image, or an
        epoch holds no batch.
        """
        num_bands = min(bands for _, _, bands in images.shapes)
        self.num_bands = window_bands or num_bands
        if self.num_bands > num_bands:
            raise ValueError(
                f"window_bands={window_bands} is more than the {num_bands} bands of a scene"
            )
        self._images = images
        self._patch_size, self._batch_size = patch_size, batch_size
        self._patches_per_image, self._fixed_patches = patches_per_image, fixed_patches
        self._seed = seed
        self.samples_per_epoch = len(images) * patches_per_image * NUM_VARIANTS
        self.steps_per_epoch = self.samples_per_epoch // batch_size
        if self.steps_per_epoch == 0:
            raise ValueError(
                f"a batch of {batch_size} is larger than an epoch of {self.samples_per_epoch} "
                "samples: lower train.batch_size or raise train.patches_per_image"
            )

    def batches(
        self, first_step: int = 0, *, process_index: int = 0, process_count: int = 1
    ) -> Iterator[Batch]:
        """The batches from a step on, drawn ahead by threads; they do not end.

        Steps count from 0 over all epochs. `process_count` must divide the batch size.

        Yields:
            "hr" uint16 `[B, S, S, L]`, 65535 is 1; "variant" int32 `[B]`, of `ops.augment`;
            "sample" int64 `[B]`, the sample's number over all epochs.
        """
        whole_batches = self.steps_per_epoch * self._batch_size
        dataset = (
            grain.MapDataset.range(self.samples_per_epoch)
            .map_with_index(self._draw)
            .shuffle(seed=self._seed)[:whole_batches]
            .repeat(_EPOCHS)[process_index::process_count]
            .batch(self._batch_size // process_count)[first_step:]
        )
        threads = min(4, os.cpu_count() or 1)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
        return iter(dataset.to_iter_dataset(options))

    def settings(self) -> dict[str, int | bool | str | None]:
        """Everything that decides which samples a step gets, by name."""
        images = zip(self._images.names, self._images.shapes, strict=True)
        return {
            "patch_size": self._patch_size,
            "batch_size": self._batch_size,
            "patches_per_image": self._patches_per_image,
            "fixed_patches": self._fixed_patches,
            "bands": self.num_bands,
            "seed": self._seed,
            **{
                f"image {number}": f"{name} {'x'.join(map(str, shape))}"
                for number, (name, shape) in enumerate(images, start=1)
            },
            "pixels": f"CRC-32 {self._images.checksum:08x}",
        }

    def scene_name(self, sample: int) -> str:
        """The scene that a sample is from."""
        return self._images.names[self._place(sample)[0]]

    def _place(self, sample: int) -> tuple[int, int, int]:
        """Image, patch and variant of a sample."""
        patch, variant = divmod(sample % self.samples_per_epoch, NUM_VARIANTS)
        return *divmod(patch, self._patches_per_image), variant

    def _draw(self, sample: int, _: Any) -> Batch:
        image, patch, variant = self._place(sample)
        drawn_for = (image, patch) if self._fixed_patches else (sample,)
        rng = np.random.default_rng([self._seed, *drawn_for])
        lengths = self._images.shapes[image]
        extents = (self._patch_size, self._patch_size, self.num_bands)
        row, column, band = (
            int(rng.integers(length - extent + 1))
            for length, extent in zip(lengths, extents, strict=True)
        )
        hr = self._images.patch(image, row, column, self._patch_size)
        return {
            "hr": hr[..., band : band + self.num_bands],
            "variant": np.asarray(variant, np.int32),
            "sample": np.asarray(sample, np.int64),
        }
