"""The shipped `indoor-small` as a network that can be trained on: its graph and numbers, with normalisation folded into the convolutions."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from keendepth.nn.exposure import layers_before
from keendepth.nn.fastdepth import DECODER_CHANNELS, ENCODER_CHANNELS, FastDepth

BIAS = 0.1  # unit of the biases: what they are in the shipped network, on average


class MobileDepth(nn.Module):
    """FastDepth whose batch normalisation was folded away when it was exported, so its statistics stay what they were.

    A convolution's weight is size * exp(gain) * direction, per output channel, with a fixed size: folding left channels that differ a
    hundredfold, and an optimiser of one step size for all would break the small ones.
    """

    usual = 10  # number of the encoder block whose map learns from a teacher where nothing is said

    def __init__(
        self,
        encoder_channels: tuple[int, ...] = ENCODER_CHANNELS,
        decoder_channels: tuple[int, ...] = DECODER_CHANNELS,
    ) -> None:
        super().__init__()
        network = FastDepth(encoder_channels, decoder_channels)
        _fold_all(network)
        self.network = network
        self.before = nn.Sequential()

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Depth in metres, >= 0, from rgb in 0..1; h and w multiples of 32, else ValueError; NaN spreads."""
        return self.network(self.before(rgb))

    def with_features(
        self, rgb: Float[Tensor, "b 3 h w"], block: int = usual
    ) -> tuple[Float[Tensor, "b 1 h w"], Float[Tensor, "b c h2 w2"]]:
        """Depth, and what encoder block `block` (0..12) gives: at 1/16 of the size from 4 to 10, at 1/32 from 11 on."""
        kept: list[Tensor] = []
        hook = self.network.encoder[block].register_forward_hook(lambda _module, _given, found: kept.append(found))
        try:
            depth = self(rgb)
        finally:
            hook.remove()
        return depth, kept[0]

    def plain(self) -> nn.Module:
        """A copy whose convolutions are torch's own, to be exported: evaluation mode, same outputs."""
        network = copy.deepcopy(self.network).eval()
        for child in network.modules():
            if isinstance(child, nn.Sequential) and isinstance(child[0], Folded):
                child[0] = child[0].unfolded()
        return nn.Sequential(*self.before, network) if len(self.before) else network


class Folded(nn.Module):
    """A convolution with bias in parts of one order of magnitude: directions begin at a root mean square of 1 per output channel."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.how = (convolution.stride, convolution.padding, convolution.dilation, convolution.groups)
        self.direction = nn.Parameter(convolution.weight.detach().clone())
        self.gain = nn.Parameter(torch.zeros(convolution.out_channels))
        self.bias = nn.Parameter(torch.zeros(convolution.out_channels))
        self.size: Tensor
        self.register_buffer("size", torch.ones(convolution.out_channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        return nn.functional.conv2d(x, *self.numbers(), *self.how)

    def numbers(self) -> tuple[Float[Tensor, "d c k k"], Float[Tensor, " d"]]:
        """(weight, bias) of the convolution."""
        return self.direction * (self.size * self.gain.exp())[:, None, None, None], self.bias * BIAS

    def unfolded(self) -> nn.Conv2d:
        """The same as torch's own convolution."""
        outputs, per_group = self.direction.shape[:2]
        stride, padding, dilation, groups = self.how
        made = nn.Conv2d(per_group * groups, outputs, self.direction.shape[2:], stride, padding, dilation, groups)
        with torch.no_grad():
            for own, number in zip((made.weight, made.bias), self.numbers(), strict=True):
                if own is not None:
                    own.copy_(number)
        return made

    def hold(self, weight: Float[Tensor, "d c k k"], bias: Float[Tensor, " d"]) -> None:
        """Become the convolution of these numbers. ValueError for other shapes."""
        if weight.shape != self.direction.shape or bias.shape != self.bias.shape:
            raise ValueError(
                f"expected a convolution of {list(self.direction.shape)}, found {list(weight.shape)} and {list(bias.shape)}"
            )
        # A channel that pruning left at nothing keeps a gain at which it can still learn.
        size = weight.flatten(1).square().mean(1).sqrt().clamp(min=1e-3)
        with torch.no_grad():
            self.direction.copy_(weight / size[:, None, None, None])
            self.size.copy_(size)
            self.gain.zero_()
            self.bias.copy_(bias / BIAS)


def load_onnx(path: str | Path) -> MobileDepth:
    """The network of an ONNX file that `export.export_onnx` made of FastDepth or of a MobileDepth; in training mode, on the CPU.

    Convolutions are taken in the order of the graph, strictly; a power in it says that it evens exposure, a mean that it quietens noise.
    ModuleNotFoundError without the package onnx, FileNotFoundError, ValueError for a file of another network.
    """
    import onnx

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model at {path}")
    graph = onnx.load(path).graph
    arrays = {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}
    made = [[arrays.get(name) for name in node.input[1:]] for node in graph.node if node.op_type == "Conv"]
    network = MobileDepth()
    layers = [layer for layer in network.modules() if isinstance(layer, Folded)]
    if len(made) != len(layers) or any(len(pair) != 2 or any(x is None for x in pair) for pair in made):
        raise ValueError(
            f"{path.name}: expected the {len(layers)} convolutions of FastDepth, each with weight and bias, found {len(made)}"
        )
    for layer, (weight, bias) in zip(layers, made, strict=True):
        layer.hold(torch.tensor(weight), torch.tensor(bias))
    kinds = {node.op_type for node in graph.node}
    network.before = layers_before("Pow" in kinds, "AveragePool" in kinds)
    return network


def _fold_all(module: nn.Module) -> None:
    """Replace each (convolution, normalisation, activation) by (folded convolution, nothing, activation)."""
    for child in module.modules():
        if isinstance(child, nn.Sequential) and isinstance(child[0], nn.Conv2d):
            child[0], child[1] = Folded(child[0]), nn.Identity()
