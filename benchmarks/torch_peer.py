"""The coarse network in PyTorch, with the same weights, to compare the speed of ours with.

It has two forms that give the same numbers:

- `published` computes as the published code does: band by band, eager, in float32, channels first,
  with the mixed unit as 3-D convolutions and weight normalisation anew in every call.
- `best` is the fastest that we found in PyTorch: all bands, or chunks of them, as one batch,
  channels last, with 2-D convolutions, only FCF band by band, and a tail of fewer products. It is
  meant for `torch.compile`.

Needs torch. Written from the equations (docs/deviations.md), with the published names of weights.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dualsr_jax.models.coarsr.nbp import neighbour_table
from dualsr_jax.models.layers import UPSAMPLING_STEPS

GROUPS = ("one", "two", "three")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.backends.cudnn.benchmark = True  # tries the algorithms of convolutions, as XLA does


class Peer(nn.Module):
    """CoarSR without BatchNorm."""

    def __init__(self, weights: dict[str, np.ndarray], scale: int) -> None:
        """Takes the weights that `weights.torch_params.to_torch` returns."""
        super().__init__()
        self.weights = nn.ParameterDict(
            {name.replace(".", "/"): torch.from_numpy(np.array(a)) for name, a in weights.items()}
        )
        self.scale = scale
        self.asfms = sum(name.endswith(".gamma") for name in weights)
        self.blocks = len({n.split(".")[4] for n in weights if "one.left_one_body" in n})

    def get(self, name: str) -> torch.Tensor:
        """Returns a weight by its published name."""
        return self.weights[name.replace(".", "/")]

    def kernel(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the weight-normalised kernel and the bias."""
        v, g = self.get(f"{name}.weight_v"), self.get(f"{name}.weight_g")
        return torch._weight_norm(v, g, 0), self.get(f"{name}.bias")

    def conv(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Convolves in 2-D or 3-D, as `x` is, with zero padding."""
        kernel, bias = self.kernel(name)
        padding = [size // 2 for size in kernel.shape[2:]]
        return (F.conv2d if x.ndim == 4 else F.conv3d)(x, kernel, bias, padding=padding)

    def body(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Runs the residual blocks, and adds the input of the first one."""
        y = x
        for k in range(self.blocks):
            block = f"{name}.body.0.{k}.body"
            y = y + self.conv(f"{block}.2", F.relu(self.conv(f"{block}.0", y)))
        return y + x

    def mixed_unit_3d(self, name: str, w: list[torch.Tensor]) -> list[torch.Tensor]:
        """Runs the mixed unit on a volume of depth 3."""
        x = torch.stack(w, 2)
        y = F.relu(self.conv(f"{name}.spatial", x) + self.conv(f"{name}.spectral", x))
        return list((x + self.conv(f"{name}.spatial_one", y)).unbind(2))

    def mixed_unit_2d(self, name: str, w: list[torch.Tensor]) -> list[torch.Tensor]:
        """Runs the mixed unit with 2-D convolutions of the three slices as one batch."""

        def spatial(part: str, x: torch.Tensor) -> torch.Tensor:
            kernel, bias = self.kernel(f"{name}.{part}")
            return F.conv2d(x, kernel[:, :, 0], bias, padding=1)

        x = torch.cat(w)
        kernel, bias = self.kernel(f"{name}.spectral")
        zero = torch.zeros_like(w[0])
        around = torch.cat(
            [torch.cat([zero, w[0], w[1]]), x, torch.cat([w[1], w[2], zero])], 1
        ).contiguous(memory_format=torch.channels_last)
        flat = kernel[..., 0, 0].permute(0, 2, 1).reshape(kernel.shape[0], -1)
        spectral = F.conv2d(around, flat[..., None, None], bias)
        y = F.relu(spatial("spatial", x) + spectral)
        return list((x + spatial("spatial_one", y)).chunk(3))

    def features(
        self, images: list[torch.Tensor], mixed_unit: Callable
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes the features d and those of the first head, of bands with their neighbours."""
        heads = [self.conv(f"head_group_{n}", x) for n, x in zip(GROUPS, images, strict=True)]
        g = heads
        for k in range(self.asfms):
            intra, inter = f"GFM_intra_{GROUPS[k]}", f"GFM_inter_{GROUPS[k]}.threeunit"
            gamma, gamma_inter = self.get(f"{intra}.gamma"), self.get(f"{intra}.gamma_inter")
            u = [self.body(f"{intra}.left_{n}_body", x) for n, x in zip(GROUPS, g, strict=True)]
            w = []
            for j, n in enumerate(GROUPS):
                mixed = torch.cat([gamma[j, i] * u[i] for i in range(3)], 1)
                v = self.conv(f"{intra}.fusion_{n}.0", mixed)
                w.append(gamma_inter[j] * (self.body(f"{intra}.right_{n}_body", v) + g[j]))
            y = mixed_unit(inter, w)
            g = [a + b for a, b in zip(y, heads, strict=True)]
        d = self.conv("conv.0", self.conv("last_reduceD.0", torch.cat(g, 1))) + heads[0]
        return d, heads[0]

    def fcf(self, d: torch.Tensor, state: torch.Tensor | None) -> torch.Tensor:
        """Computes the next state of the recurrence; the gradient is cut between bands."""
        if state is None:
            return d
        gamma = self.get("gamma_rnn")
        return self.conv("rnn_reduceD.0", torch.cat([gamma[0] * d, gamma[1] * state.detach()], 1))

    def tail(self, x: torch.Tensor) -> torch.Tensor:
        """Runs the sub-pixel upsampling and the last convolution."""
        for k, r in enumerate(UPSAMPLING_STEPS[self.scale]):
            x = F.pixel_shuffle(self.conv(f"tail.0.{2 * k}", x), r)
        return self.conv("tail.1", x)

    def tail_by_taps(self, x: torch.Tensor) -> torch.Tensor:
        """Runs the tail with its last two convolutions as one, as `layers.Tail` does."""
        *steps, r = UPSAMPLING_STEPS[self.scale]
        for k, step in enumerate(steps):
            x = F.pixel_shuffle(self.conv(f"tail.0.{2 * k}", x), step)
        (kernel, bias), (taps, shift) = (
            self.kernel(f"tail.0.{2 * len(steps)}"),
            self.kernel("tail.1"),
        )
        flat = torch.cat([kernel.flatten(1), bias[:, None]], 1).unflatten(0, (taps.shape[1], -1))
        flat = torch.einsum("cpk,ct->tpk", flat, taps[0].flatten(1)).flatten(0, 1)
        y = F.conv2d(x, flat[:, :-1].unflatten(1, kernel.shape[1:]), flat[:, -1], padding=1)
        y = F.pad(F.pixel_shuffle(y, r), (1, 1, 1, 1))
        h, w = y.shape[2] - 2, y.shape[3] - 2
        parts = [y[:, 3 * i + j, i : i + h, j : j + w] for i in range(3) for j in range(3)]
        return (torch.stack(parts).sum(0) + shift)[:, None]

    def bands(
        self, lr: torch.Tensor, mixed_unit: Callable, tail: Callable
    ) -> Iterator[torch.Tensor]:
        """Yields residuals `[B, 1, sh, sw]`, band by band; `lr` is `[B, L, h, w]`."""
        state = None
        for i, (a, b, c, e) in enumerate(neighbour_table(lr.shape[1], "paper").tolist()):
            images = [lr[:, [i]], lr[:, [a, i, b]], lr[:, [c, i, e]]]
            d, head = self.features(images, mixed_unit)
            state = self.fcf(d, state)
            yield tail(state + head)

    def published_bands(self, lr: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yields `bands` as published."""
        return self.bands(lr, self.mixed_unit_3d, self.tail)

    def best_bands(self, lr: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yields `bands` with fewer products, channels last."""
        lr = lr.contiguous(memory_format=torch.channels_last)
        return self.bands(lr, self.mixed_unit_2d, self.tail_by_taps)

    def published(self, lr: torch.Tensor, bicubic: torch.Tensor) -> torch.Tensor:
        """Enlarges `[B, L, h, w]` to `[B, L, sh, sw]`, band by band."""
        return bicubic + torch.cat(list(self.published_bands(lr)), 1)

    def best(
        self, lr: torch.Tensor, bicubic: torch.Tensor, band_chunk: int | None = None
    ) -> torch.Tensor:
        """Enlarges all bands as one batch, or in chunks, which stay in cache on CPUs."""
        batch, num_bands, h, w = lr.shape
        table = torch.from_numpy(np.asarray(neighbour_table(num_bands, "paper"), np.int64))
        centre = torch.arange(num_bands)
        a, b, c, e = table.unbind(1)
        groups = [torch.stack(g, 1) for g in ((centre,), (a, centre, b), (c, centre, e))]
        chunks = torch.arange(num_bands).split(band_chunk or num_bands)
        # Bands first: the images of one band are contiguous.
        parts = []
        for chunk in chunks:
            images = [
                lr[:, group[chunk].to(lr.device)]
                .transpose(0, 1)
                .reshape(len(chunk) * batch, -1, h, w)
                .contiguous(memory_format=torch.channels_last)
                for group in groups
            ]
            parts.append(self.features(images, self.mixed_unit_2d))
        # The product with d is made for all bands at once; that with the state is sequential.
        kernel, bias = self.kernel("rnn_reduceD.0")
        gamma, channels = self.get("gamma_rnn"), kernel.shape[0]
        from_state = gamma[1] * kernel[:, channels:]
        state, residuals = None, []
        for d, head in parts:
            from_d = F.conv2d(d, gamma[0] * kernel[:, :channels], bias)
            states = []
            for d_i, from_d_i in zip(d.split(batch), from_d.split(batch), strict=True):
                state = d_i if state is None else from_d_i + F.conv2d(state.detach(), from_state)
                states.append(state)
            residuals.append(self.tail_by_taps(torch.cat(states) + head))
        residual = torch.cat(residuals)
        return bicubic + residual.reshape(num_bands, batch, *residual.shape[2:]).transpose(0, 1)


def bands_second(cube: np.ndarray) -> torch.Tensor:
    """Moves our `[B, H, W, L]` to PyTorch's device as `[B, L, H, W]`."""
    return torch.from_numpy(np.moveaxis(np.asarray(cube), -1, 1).copy()).to(DEVICE)


def finished(run: Callable[[], Any]) -> Callable[[], Any]:
    """Makes a call wait for the device, which PyTorch's calls do not do."""

    def waiting() -> Any:
        result = run()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return result

    return waiting


def in_precision(forward: Callable, precision: str) -> Callable:
    """Runs convolutions in "float32" (TF32 if PyTorch's settings allow it) or "bfloat16"."""

    def run(*images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16"):
            return forward(*images)

    return run


def banded_train_step(
    bands: Iterator[torch.Tensor],
    optimizer: torch.optim.Optimizer,
    bicubic: torch.Tensor,
    hr: torch.Tensor,
) -> None:
    """Makes one optimiser step per band; `bands` yields the residuals."""
    for i in range(hr.shape[1]):
        optimizer.zero_grad()
        # The next band's forward pass runs after this band's update.
        loss = F.l1_loss(next(bands)[:, 0] + bicubic[:, i], hr[:, i])
        loss.backward()
        optimizer.step()


def accumulating_train_step(
    peer: Peer,
    optimizer: torch.optim.Optimizer,
    lr: torch.Tensor,
    bicubic: torch.Tensor,
    hr: torch.Tensor,
) -> None:
    """Makes one optimiser step with the sum of the gradients of all bands."""
    optimizer.zero_grad()
    for i, residual in enumerate(peer.best_bands(lr)):
        (F.l1_loss(residual[:, 0] + bicubic[:, i], hr[:, i]) / lr.shape[1]).backward()
    optimizer.step()
