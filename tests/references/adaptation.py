"""Domain adapters as slow, plain NumPy for one episode: source rows ``[S, D]``, target rows ``[U, D]``."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eig, sqrtm
from scipy.optimize import minimize


def squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return ((a[:, None] - b[None]) ** 2).sum(-1)


def coral(xs: np.ndarray, xt: np.ndarray, shrinkage: float) -> np.ndarray:
    def covariance(x: np.ndarray) -> np.ndarray:
        c = np.cov(x, rowvar=False, ddof=0)
        return (1 - shrinkage) * c + shrinkage * np.trace(c) / len(c) * np.eye(len(c))

    white = (xs - xs.mean(0)) @ np.linalg.inv(sqrtm(covariance(xs)).real)
    return white @ sqrtm(covariance(xt)).real + xt.mean(0)


def subspace_alignment(xs: np.ndarray, xt: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    ps = np.linalg.svd(xs - xs.mean(0), full_matrices=False)[2][:dim].T
    pt = np.linalg.svd(xt - xt.mean(0), full_matrices=False)[2][:dim].T
    return (xs - xs.mean(0)) @ ps @ ps.T @ pt, (xt - xt.mean(0)) @ pt


def components(xs: np.ndarray, xt: np.ndarray, gaps: list[np.ndarray], reg: float, dim: int) -> np.ndarray:
    """The map ``[D, dim]``, columns of length one, largest first."""
    x = np.concatenate([xs, xt])
    m = sum(np.outer(gap, gap) for gap in gaps)
    m = m / np.linalg.norm(m)
    h = np.eye(len(x)) - 1 / len(x)
    values, vectors = eig(np.linalg.solve(x.T @ m @ x + reg * np.eye(x.shape[1]), x.T @ h @ x))
    order = np.argsort(-values.real)[:dim]
    axes = vectors[:, order].real
    return axes / np.linalg.norm(axes, axis=0)


def domain_gap(s: int, u: int) -> np.ndarray:
    return np.concatenate([np.full(s, 1 / s), np.full(u, -1 / u)])


def class_gaps(ys: np.ndarray, guesses: np.ndarray, way: int) -> list[np.ndarray]:
    found = []
    for n in range(way):
        own, other = ys == n, guesses == n
        if own.any() and other.any():
            found.append(np.concatenate([own / own.sum(), -(other / other.sum())]))
    return found


def jda(xs: np.ndarray, ys: np.ndarray, xt: np.ndarray, way: int, reg: float, dim: int, rounds: int) -> np.ndarray:
    """Labels guessed by the nearest source row."""
    gaps = [domain_gap(len(xs), len(xt))]
    for _ in range(rounds):
        axes = components(xs, xt, gaps, reg, dim)
        guesses = ys[squares(xt @ axes, xs @ axes).argmin(1)]
        gaps = [domain_gap(len(xs), len(xt)), *class_gaps(ys, guesses, way)]
    return axes


def sinkhorn(cost: np.ndarray, reg: float, rounds: int = 5_000) -> np.ndarray:
    """Scalings in turn, which are slow towards the end, and then Newton steps on both logarithms together."""
    kernel, u = np.exp(-cost / reg), np.ones(len(cost))
    a, b = 1 / len(cost), 1 / cost.shape[1]
    for _ in range(rounds):
        v = b / (kernel.T @ u)
        u = a / (kernel @ v)
    for _ in range(8):
        plan = u[:, None] * kernel * v[None]
        gap = np.concatenate([a - plan.sum(1), b - plan.sum(0)])
        curvature = np.block([[np.diag(plan.sum(1)), plan], [plan.T, np.diag(plan.sum(0))]])
        step = np.linalg.lstsq(curvature, gap, rcond=1e-13)[0]
        u, v = u * np.exp(step[: len(u)]), v * np.exp(step[len(u) :])
    assert abs(gap).max() < 1e-12
    return u[:, None] * kernel * v[None]


def optimal_transport(xs: np.ndarray, ys: np.ndarray, xt: np.ndarray, reg: float, group: float, way: int) -> np.ndarray:
    cost = squares(xs, xt)
    cost = cost / np.sort(cost.ravel())[(cost.size - 1) // 2]
    plan = sinkhorn(cost, reg)
    if group:
        for _ in range(9):
            slope = np.zeros_like(cost)
            for n in range(way):
                mass = plan[ys == n].sum(0) * len(xt)
                slope[ys == n] = 0.5 * (mass + 1e-3 / way) ** -0.5
            plan = sinkhorn(cost + group * slope, reg)
    return plan / plan.sum(1, keepdims=True) @ xt


def width(xs: np.ndarray, xt: np.ndarray) -> float:
    ordered = np.sort(squares(xs, xt).ravel())
    return ordered[(len(ordered) - 1) // 2]


def kmm_objective(w: np.ndarray, xs: np.ndarray, xt: np.ndarray) -> float:
    h = width(xs, xt)
    kernel, near = np.exp(-squares(xs, xs) / h), len(xs) * np.exp(-squares(xs, xt) / h).mean(1)
    return w @ kernel @ w / 2 - near @ w


def kmm(xs: np.ndarray, xt: np.ndarray, bound: float) -> np.ndarray:
    s = len(xs)
    slack = (np.sqrt(s) - 1) / np.sqrt(s)
    h = width(xs, xt)
    kernel, near = np.exp(-squares(xs, xs) / h), s * np.exp(-squares(xs, xt) / h).mean(1)
    limits = [
        {"type": "ineq", "fun": lambda w: w.sum() - s * (1 - slack), "jac": lambda w: np.ones(s)},
        {"type": "ineq", "fun": lambda w: s * (1 + slack) - w.sum(), "jac": lambda w: -np.ones(s)},
    ]
    done = minimize(
        lambda w: w @ kernel @ w / 2 - near @ w, np.ones(s), jac=lambda w: kernel @ w - near, method="SLSQP",
        bounds=[(0, bound)] * s, constraints=limits, options={"ftol": 1e-14, "maxiter": 2000},
    )  # fmt: skip
    return done.x


def kliep_likelihood(weights_of: np.ndarray, xs: np.ndarray, xt: np.ndarray) -> float:
    """The best mean log weight of the target, by a general solver over the coefficients."""
    h = width(xs, xt)
    source, target = np.exp(-squares(xs, weights_of) / h), np.exp(-squares(xt, weights_of) / h)
    level = source.mean(0)
    done = minimize(
        lambda a: -np.log(target @ a).mean(), np.full(len(level), 1 / level.sum()),
        jac=lambda a: -(target / (target @ a)[:, None]).mean(0), method="SLSQP", bounds=[(0, None)] * len(level),
        constraints=[{"type": "eq", "fun": lambda a: level @ a - 1, "jac": lambda a: level}],
        options={"ftol": 1e-12, "maxiter": 1000},
    )  # fmt: skip
    return float(-done.fun)
