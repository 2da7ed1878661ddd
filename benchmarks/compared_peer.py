"""MCNet and SFCSR in PyTorch, with the same weights, to compare the speed of ours with.

Eager, float32 and channels first, with 3-D and transposed convolutions as PyTorch has them; SFCSR
restores one band after another, as published. Needs torch. Written from the equations of the
papers, with the published names of weights.
"""

import torch
from torch.nn import functional as F  # noqa: N812
from torch_peer import Peer

from dualsr_jax.models.layers import UPSAMPLING_STEPS


class Published(Peer):
    """Weights in their published names, and the convolutions that both methods share."""

    def upsampled(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Runs a transposed 3-D convolution that enlarges rows and columns."""
        v, g = self.get(f"{name}.weight_v"), self.get(f"{name}.weight_g")
        kernel = torch._weight_norm(v, g, 0)
        stride = (1, self.scale, self.scale)
        return F.conv_transpose3d(x, kernel, self.get(f"{name}.bias"), stride, padding=1)


class MCNet(Published):
    """MCNet; `lr` is `[B, L, h, w]`."""

    def __init__(self, weights: dict, scale: int, band_mean: torch.Tensor) -> None:
        """Takes the weights that `weights.mcnet_params.to_torch` returns, and the means."""
        super().__init__(weights, scale)
        self.band_mean = band_mean[:, None, None]
        self.convs = len({n.split(".")[2] for n in weights if n.startswith("SSRM1.Block1.")})

    def separable(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Convolves in space, then along the bands, each followed by ReLU."""
        x = F.relu(self.conv(f"{name}.conv.0.conv", x))
        return F.relu(self.conv(f"{name}.conv.1.conv", x))

    def on_slices(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Runs two 2-D convolutions on the slice of each band."""
        batch, channels, bands, h, w = x.shape
        y = x.transpose(1, 2).reshape(batch * bands, channels, h, w)
        y = self.conv(f"{name}.2", F.relu(self.conv(f"{name}.0", y)))
        return y.reshape(batch, bands, channels, h, w).transpose(1, 2)

    def module(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Runs one of the four modules."""
        gamma, y, seen = self.get(f"{name}.gamma"), x, []
        for k in range(1, 4):
            z = y
            for i in range(self.convs):
                z = self.separable(f"{name}.Block{k}.{i}", z)
            y = z + y
            seen.append(gamma[k - 1] * self.on_slices(f"{name}.conv{k}", y))
        fused = F.relu(self.conv(f"{name}.reduceF.conv", torch.cat(seen, 1)))
        return self.separable(f"{name}.Conv", fused + x)

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        """Enlarges `[B, L, h, w]` to `[B, L, sh, sw]`."""
        head = x = self.conv("head", (lr - self.band_mean)[:, None])
        for k in range(1, 5):
            x = self.module(f"SSRM{k}", x) + head
        return self.conv("tail.1", self.upsampled("tail.0", x))[:, 0] + self.band_mean


class SFCSR(Published):
    """SFCSR; `lr` is `[B, L, h, w]`."""

    def __init__(self, weights: dict, scale: int) -> None:
        """Takes the weights that `weights.sfcsr_params.to_torch` returns."""
        super().__init__(weights, scale)
        self.modules_in_sequence = len({n.split(".")[1] for n in weights if "twoCNN." in n})

    def both(self, name: str, step: int, x: torch.Tensor) -> torch.Tensor:
        """Adds a convolution in space and one along the bands."""
        spatial = self.conv(f"{name}.body_spatial.{step}", x)
        return spatial + self.conv(f"{name}.body_spectral.{step}", x)

    def fused(self, lr: torch.Tensor, band: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes what the recurrence takes, and the features of the band alone."""
        first = min(max(band - 1, 0), lr.shape[1] - 3)
        window = lr[:, None, first : first + 3]
        head_x = x = self.conv("ThreeHead.1", self.conv("ThreeHead.0", window))
        head_y = y = self.conv("TwoHead.0", lr[:, [band]])
        gamma_x, gamma_y = self.get("gamma_X"), self.get("gamma_Y")
        xs, ys = [], []
        for j in range(self.modules_in_sequence):
            a = F.relu(self.both(f"threeCNN.{j}", 0, x))
            x = head_x + (x + self.both(f"threeCNN.{j}", 1, a))
            y = y + self.conv(f"twoCNN.{j}.body", y)
            y = head_y + self.conv(f"reduceD.{j}", torch.cat([y, *x.unbind(2)], 1))
            xs.append(gamma_x[j] * x)
            ys.append(gamma_y[j] * y)
        x = self.conv("reduceD_X", torch.cat(xs, 1))
        x = self.conv("threefusion.1", self.conv("threefusion.0", x))
        y = self.conv("twofusion", self.conv("reduceD_Y", torch.cat(ys, 1)))
        gamma = self.get("gamma_DFF")
        parts = [g * part for g, part in zip(gamma, [*x.unbind(2), y], strict=True)]
        return self.conv("conv_DFF", self.conv("reduceD_DFF", torch.cat(parts, 1))), head_y

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        """Enlarges `[B, L, h, w]` to `[B, L, sh, sw]`, band by band."""
        state, found = None, []
        gamma = self.get("gamma_FCF")
        steps = UPSAMPLING_STEPS[self.scale]
        for band in range(lr.shape[1]):
            d, head = self.fused(lr, band)
            if state is not None:
                d = torch.cat([gamma[0] * d, gamma[1] * state], 1)
                d = self.conv("conv_FCF", self.conv("reduceD_FCF", d))
            state, x = d, d + head
            for k, r in enumerate(steps):
                x = F.pixel_shuffle(self.conv(f"TwoTail.{2 * k}", x), r)
            found.append(self.conv(f"TwoTail.{2 * len(steps)}", x))
        return torch.cat(found, 1)
