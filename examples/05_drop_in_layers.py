"""Layers that take the place of dense ones: a compressed linear map, a generated embedding, a periodic convolution."""

import torch

from separable.layers import Khronos, LeviathanEmbedding, SeparableConvolution, SeparableLinear


def main() -> None:
    """Compress, generate, filter."""
    torch.manual_seed(0)

    # A dense weight that is nearly of low rank, as trained ones often are.
    dense = torch.nn.Linear(512, 512)
    with torch.no_grad():
        dense.weight.copy_(torch.randn(512, 40) @ torch.randn(40, 512) / 100 + 0.001 * torch.randn(512, 512))
    small = SeparableLinear.from_linear(dense, rank=48)
    counts = [sum(p.numel() for p in layer.parameters()) for layer in (dense, small)]
    print(f"linear: {counts[0]} -> {counts[1]} numbers, relative error {small.relative_error:.1e}")

    # 200,376 tokens of width 256 from 1.3 million numbers; a table would need 51 million.
    embedding = LeviathanEmbedding(200_376, 256)
    vectors = embedding(torch.tensor([[17, 200_375, 17]]))
    print(f"embedding: {tuple(vectors.shape)} from {sum(p.numel() for p in embedding.parameters())} numbers")

    # A field on a periodic grid; order 2 multiplies two filtered fields, as advection does.
    convolution = SeparableConvolution(1, 1, rank=4, kernel_size=9, order=2).requires_grad_(False)
    field = torch.randn(2, 1, 64, 64)
    shifted = convolution(field.roll(5, dims=-1))
    error = float((shifted - convolution(field).roll(5, dims=-1)).abs().max())
    print(f"convolution: {tuple(shifted.shape)}, commutes with shifts to {error:.0e}")

    # The published layer, with its own start values.
    head = Khronos(4, 2, grid_points=8, rank=10)
    print(f"khronos: {tuple(head(torch.rand(3, 4)).shape)}")


if __name__ == "__main__":
    main()
