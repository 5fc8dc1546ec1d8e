"""Matrices held as small tensors: canonical polyadic, Tucker and tensor-train factorisations of a dense weight.

A matrix ``W (O, I)`` is read as a tensor by splitting its row index into digits ``(a_1 .. a_d)`` of sizes
``o_1 .. o_d`` and its column index into ``(b_1 .. b_d)`` of sizes ``i_1 .. i_d``, the last digit running fastest:

    canonical_polyadic   W_(a,b) = sum_(r=1..R) prod_k A_k[a_k, r] prod_k B_k[b_k, r]
    tucker               W_(a,b) = sum_(p,q) G[p_1 .. p_d, q_1 .. q_d] prod_k A_k[a_k, p_k] prod_k B_k[b_k, q_k]
    tensor_train         W_(a,b) = G_1[:, a_1, b_1, :] G_2[:, a_2, b_2, :] .. G_d[:, a_d, b_d, :]

For Tucker and CP rows and columns may have different numbers of digits. With one digit each, CP is a plain low-rank
matrix ``A B^T``. The tensor train is that of a matrix (Novikov et al., Tensorizing Neural Networks, 2015): each core
carries a row and a column digit, with ranks ``r_0 = r_d = 1`` at the ends.

Two ways lead to ``y = x W^T``: through the factors, or through the dense matrix first; which is faster depends on
the batch, and `FactorisedMatrix.forward` chooses by estimated cost.
"""

from separable.layers.factorised.canonical_polyadic import CanonicalPolyadicMatrix
from separable.layers.factorised.factory import Factorisation, factorised_matrix
from separable.layers.factorised.matrix import FactorisedMatrix, Rank
from separable.layers.factorised.shapes import balanced_shape, covering_shape
from separable.layers.factorised.tensor_train import TensorTrainMatrix
from separable.layers.factorised.tucker import TuckerMatrix

__all__ = [
    "CanonicalPolyadicMatrix",
    "FactorisedMatrix",
    "Factorisation",
    "Rank",
    "TensorTrainMatrix",
    "TuckerMatrix",
    "balanced_shape",
    "covering_shape",
    "factorised_matrix",
]
