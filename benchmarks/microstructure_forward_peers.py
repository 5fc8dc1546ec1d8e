"""The same elastic cells in muSpectre and scikit-fem, and the same diffusion in taufactor.

All use the discretisation of `domains.microstructure`, so that results can be compared to rounding: four-node
quadrilaterals with full integration on the periodic grid of voxels (muSpectre's `bilinear_quadrangle` stencil with
its preconditioned solver, scikit-fem's `ElementQuad1`), and finite volumes on voxels (taufactor). They come from the
extra `peers`; a function returns None where its package is missing.
"""

import time
from typing import Any

import numpy as np

STRAINS = (((1.0, 0.0), (0.0, 0.0)), ((0.0, 0.0), (0.0, 1.0)), ((0.0, 0.5), (0.5, 0.0)))


def muspectre(cell: np.ndarray, young: tuple[float, float], poisson: float, tolerance: float) -> dict[str, Any] | None:
    """Effective stiffness (3, 3) in plane strain, seconds of the three solves, and of setting up besides."""
    try:
        import muSpectre as ms
    except ImportError:
        return None
    began = time.perf_counter()
    data = ms.cell.CellData.make(list(cell.shape), [float(n) for n in cell.shape])
    data.nb_quad_pts, data.nb_nodal_pts = 4, 1
    materials = [ms.material.MaterialLinearElastic1_2d.make(data, f"phase {p}", young[p], poisson) for p in (0, 1)]
    for pixel, phase in enumerate(cell.ravel(order="F")):  # muSpectre's pixels run fastest along x
        materials[int(phase)].add_pixel(pixel)
    discretisation = ms.Discretisation(ms.FEMStencil.bilinear_quadrangle(data))
    silent = ms.Verbosity.Silent
    krylov = ms.solvers.KrylovSolverPCG(tolerance, 2000, silent)
    solver = ms.solvers.SolverFEMNewtonPCG(discretisation, krylov, silent, tolerance, tolerance, 10)
    solver.formulation = ms.Formulation.small_strain
    solver.initialise_cell()
    solver.evaluate_stress_tangent()
    solver.set_reference_material(solver.tangent.map.mean())
    ready = time.perf_counter()
    stiffness = np.zeros((3, 3))
    for load, strain in enumerate(STRAINS):
        solver.solve_load_increment(np.array(strain))
        stress = np.asarray(solver.flux.field.array()).reshape(2, 2, -1).mean(-1)
        stiffness[:, load] = stress[0, 0], stress[1, 1], stress[0, 1]
    done = time.perf_counter()
    return {"stiffness": stiffness, "solve": done - ready, "setup": ready - began, "iterations": krylov.counter}


def scikit_fem(cell: np.ndarray, young: tuple[float, float], poisson: float) -> dict[str, Any] | None:
    """Effective stiffness (3, 3) in plane strain and seconds: assembly, periodic reduction, one factorisation."""
    try:
        import skfem
        from skfem.helpers import ddot, sym_grad, trace
    except ImportError:
        return None
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import splu

    began = time.perf_counter()
    n, m = cell.shape
    mesh = skfem.MeshQuad.init_tensor(np.arange(n + 1.0), np.arange(m + 1.0))
    basis = skfem.Basis(mesh, skfem.ElementVector(skfem.ElementQuad1()), intorder=2)
    middle = mesh.p[:, mesh.t].mean(1).astype(int)
    modulus = np.asarray(young)[cell[middle[0], middle[1]].astype(int)][:, None]
    mu, lame = modulus / (2 * (1 + poisson)), modulus * poisson / ((1 + poisson) * (1 - 2 * poisson))

    @skfem.BilinearForm
    def stiffness_form(u: Any, v: Any, w: Any) -> Any:
        e, f = sym_grad(u), sym_grad(v)
        return w.lame * trace(e) * trace(f) + 2 * w.mu * ddot(e, f)

    fields = {"mu": np.broadcast_to(mu, basis.dx.shape), "lame": np.broadcast_to(lame, basis.dx.shape)}
    matrix = stiffness_form.assemble(basis, **fields)
    places = np.round(basis.doflocs).astype(int)
    component = np.zeros(basis.N, dtype=int)
    component[basis.nodal_dofs[1]] = 1
    target = 2 * ((places[0] % n) * m + places[1] % m) + component
    fold = csr_matrix((np.ones(basis.N), (np.arange(basis.N), target)), shape=(basis.N, 2 * n * m))
    affine = np.zeros((basis.N, 3))
    for load, strain in enumerate(STRAINS):
        affine[:, load] = (np.array(strain)[component] * basis.doflocs.T).sum(1)
    forces = matrix @ affine
    reduced, pushed = (fold.T @ matrix @ fold).tocsc(), fold.T @ forces
    inner = np.zeros_like(pushed)
    # One node is held. The ordering for symmetric matrices is SuperLU's fastest here.
    symmetric = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
    inner[2:] = splu(reduced[2:, 2:], **symmetric).solve(-pushed[2:])
    stiffness = (affine.T @ forces + pushed.T @ inner) / (n * m)
    return {"stiffness": stiffness, "seconds": time.perf_counter() - began}


def taufactor(mask: np.ndarray) -> dict[str, Any] | None:
    """Tortuosity factor along the first axis and seconds, at taufactor's own criterion."""
    try:
        import taufactor as tau
    except ImportError:
        return None
    began = time.perf_counter()
    solver = tau.Solver(mask.astype(np.uint8), device="cpu")
    factor = float(np.asarray(solver.solve(verbose=False)).ravel()[0])
    return {"factor": factor, "seconds": time.perf_counter() - began}
