"""Products of Householder reflections, applied to vectors."""

import torch
from torch import Tensor


def reflect(vectors: Tensor, x: Tensor, *, transposed: bool = False) -> Tensor:
    r"""Apply a product of reflections of its own to each sample, the last reflection first.

    .. math:: H_1 \cdots H_k\, x = x - V^T S^{-1} V x, \qquad H_i = I - 2 v_i v_i^T/\|v_i\|^2, \qquad
              S = \tfrac12 \operatorname{diag}(VV^T) + \operatorname{triu}(VV^T, 1)

    One triangular solve with k unknowns per sample; the product is never formed. ``transposed`` applies the inverse,
    which is the transpose.

    Shapes: vectors V ``(B, k, D)``, none of them zero; x ``(B, D)``.
    Source: Joffrain et al., Accumulating Householder transformations, revisited, 2006.

    >>> reflect(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[3.0, 4.0]]))
    tensor([[-3.,  4.]])
    """
    gram = vectors @ vectors.mT
    triangle = gram.triu(1) + torch.diag_embed(gram.diagonal(dim1=1, dim2=2) / 2)
    along = vectors @ x[:, :, None]
    if transposed:
        solved = torch.linalg.solve_triangular(triangle.mT, along, upper=False)
    else:
        solved = torch.linalg.solve_triangular(triangle, along, upper=True)
    return x - (vectors.mT @ solved)[:, :, 0]
