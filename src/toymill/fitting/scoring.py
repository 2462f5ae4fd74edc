"""Fisher scoring of many toys at once, each from its start to near a minimum.

Toys go through lanes, each a queue: whenever the search of one toy ends, its lane takes the next. A lane's numbers
depend on that lane's toy only. Parameters are in the order of ``Kernel.fast``; toys, one a lane, are the last axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from toymill.fitting.newton import movable
from toymill.linalg import apart
from toymill.models.base import Fast, Tuning

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Bool, Float, Int, PyTree

    Solve = Callable[[Float[Array, "parameter lane"]], Float[Array, "parameter lane"]]
    Loop = tuple["_Lanes", "Rough"]

_MEMORABLE_EDM = 1.0  # farther from the minimum than this, changes of the gradient say little about it
_SMALLEST_SCALE = 1e-8  # of a step that has been cut back again and again


class Queues(NamedTuple):
    """The toys of every lane: of its N places the first are filled.

    Attributes:
        counts: how many toys each lane has, (T,).
        start: where each toy starts, (N, T, P); parameters that are fixed keep these values.
        data: the toys, (N, T, D).
        hold: a parameter of each toy that is held in the first steps, or -1, (N, T).
    """

    counts: Int[Array, " lane"]
    start: Float[Array, "place lane parameter"]
    data: Float[Array, "place lane datum"]
    hold: Int[Array, "place lane"]


class Rules(NamedTuple):
    """When a search ends, and what it holds at first.

    Attributes:
        hold_steps: in how many of the first steps a toy's ``hold`` is held.
        enough: the estimated distance to the minimum at which a search ends.
        limit: the largest number of steps.
        foresee: True to end as soon as the next step is expected to be enough, and to take that step unevaluated.
    """

    hold_steps: Int[Array, ""]
    enough: Float[Array, ""]
    limit: Int[Array, ""]
    foresee: Bool[Array, ""]


class Space(NamedTuple):
    """What all toys share: the kernel's fast functions, its constants, bounds (P, 1), and which parameters are fixed, (P,)."""

    fast: Fast
    arrays: PyTree
    low: Float[Array, "parameter 1"]
    high: Float[Array, "parameter 1"]
    fixed: Bool[Array, " parameter"]

    def inside(self, x: Float[Array, "parameter lane"]) -> Float[Array, "parameter lane"]:
        """The nearest point inside the bounds."""
        return jnp.clip(x, self.low, self.high)

    def target(self, at: _Lanes) -> Float[Array, "parameter lane"]:
        """Where the next step of each lane leads."""
        return self.inside(at.x + at.scale[None] * at.step)

    def movable(
        self, x: Float[Array, "parameter lane"], gradient: Float[Array, "parameter lane"]
    ) -> Bool[Array, "parameter lane"]:
        """Parameters that may move from x."""
        return movable(x, gradient, self.low, self.high, self.fixed)


class Rough(NamedTuple):
    """Where the search of each toy ended: (N, T, P) and (N, T)."""

    x: Float[Array, "place lane parameter"]
    nll: Float[Array, "place lane"]
    edm: Float[Array, "place lane"]
    iterations: Int[Array, "place lane"]


class _Lanes(NamedTuple):
    """Where the search of each lane's toy stands.

    Attributes:
        number: the toy's place in its lane, (T,).
        data: the toy, (D, T).
        hold: the place of a parameter that is held at first, or -1, (T,).
        done: True where the search has ended, (T,).
        x: parameters, (P, T).
        nll: negative log-likelihood less its offset, infinite before the first evaluation, (T,).
        gradient: its gradient, (P, T).
        step: the next step, -H⁻¹ g, (P, T).
        scale: the part of it that is tried, (T,); 0 if that step is not good and another matrix is wanted for it.
        reused: True where the step comes from the matrix of another point, (T,).
        edm: estimated distance to the minimum, ½ gᵀ H⁻¹ g, (T,).
        iterations: steps tried, (T,).
        steps: the last steps, oldest first, M times (P, T); zero where there is none.
        changes: of the gradient in them, M times (P, T).
    """

    number: Int[Array, " lane"]
    data: Float[Array, "datum lane"]
    hold: Int[Array, " lane"]
    done: Bool[Array, " lane"]
    x: Float[Array, "parameter lane"]
    nll: Float[Array, " lane"]
    gradient: Float[Array, "parameter lane"]
    step: Float[Array, "parameter lane"]
    scale: Float[Array, " lane"]
    reused: Bool[Array, " lane"]
    edm: Float[Array, " lane"]
    iterations: Int[Array, " lane"]
    steps: tuple[Float[Array, "parameter lane"], ...]
    changes: tuple[Float[Array, "parameter lane"], ...]


class _Evaluation(NamedTuple):
    """The nll at the points to which the lanes' steps led, and the matrix that is used there.

    Attributes:
        target: these points, (P, T).
        nll: negative log-likelihood less its offset, (T,).
        gradient: its gradient, (P, T).
        free: the parameters that the next step changes, (P, T).
    """

    target: Float[Array, "parameter lane"]
    nll: Float[Array, " lane"]
    gradient: Float[Array, "parameter lane"]
    free: Bool[Array, "parameter lane"]


def score(space: Space, queues: Queues, tuning: Tuning, rules: Rules) -> Rough:
    """Fisher scoring of every toy until its distance is below ``rules.enough``, or the limit of steps.

    The step -H⁻¹ g, H corrected by the last changes of the gradient (L-BFGS, with the Fisher information for H₀), is
    projected into the bounds, and cut to a quarter where it does not lower the nll (Armijo's rule along the projection
    arc: Bertsekas, SIAM J. Control Optim. 20 (1982) 221). If ``rules.foresee``, a toy is done as soon as the next step is
    expected to end there, and that step is taken without an evaluation; and a matrix serves for the next steps of all
    lanes, ``tuning.matrix_reuse`` of them, as long as they are taken and the same parameters are free. (In a descent to a
    second minimum the estimated distance, which is only as good as its matrix, has the last word.)
    """
    places, lanes, _ = queues.start.shape
    lane = jnp.arange(lanes)

    def advance(state: Loop) -> Loop:
        at, ends = state
        target = space.target(at)
        nll, gradient, matrix = space.fast.scoring(space.arrays, target, at.data)
        free = _free(space, at, target, gradient, rules.hold_steps)
        solve = matrix(free)
        at = _advanced(space, at, at.done, _Evaluation(target, nll, gradient, free), solve, rules, reused=False)
        if tuning.matrix_reuse:
            at = _with_the_same_matrix(space, at, free, solve, tuning, rules)
        place = jnp.where(at.done, at.number, places)

        def put(every: Array, one: Array) -> Array:
            return every.at[place, lane].set(one, mode="drop")

        ends = jax.tree.map(put, ends, Rough(at.x.T, at.nll, at.edm, at.iterations))
        return _next_toys(space, queues, at, at.done, at.number + at.done), ends

    none, empty = _nothing(queues, tuning)
    begun = _next_toys(space, queues, none, none.done, none.number), empty
    _, ends = lax.while_loop(lambda state: jnp.any(state[0].number < queues.counts), advance, begun)
    return ends


def _nothing(queues: Queues, tuning: Tuning) -> tuple[_Lanes, Rough]:
    """Lanes that are done with nothing, and the ends of no search."""
    places, lanes, size = queues.start.shape
    empty = Rough(
        jnp.zeros_like(queues.start),
        jnp.zeros((places, lanes)),
        jnp.zeros((places, lanes)),
        jnp.zeros((places, lanes), dtype=jnp.int32),
    )
    vector, number = jnp.zeros((size, lanes)), jnp.zeros(lanes)
    memory = (vector,) * tuning.remembered
    count = jnp.zeros(lanes, dtype=jnp.int32)
    none = _Lanes(
        number=count,
        data=jnp.zeros((queues.data.shape[2], lanes)),
        hold=count,
        done=count == 0,
        x=vector,
        nll=number,
        gradient=vector,
        step=vector,
        scale=number,
        reused=count != 0,
        edm=number,
        iterations=count,
        steps=memory,
        changes=memory,
    )
    return none, empty


def _next_toys(
    space: Space, queues: Queues, at: _Lanes, where: Bool[Array, " lane"], number: Int[Array, " lane"]
) -> _Lanes:
    """The next toy, at a place of each lane, in the lanes ``where`` its predecessor is done."""
    place, lane = jnp.minimum(number, queues.start.shape[0] - 1), jnp.arange(len(number))
    first = queues.start[place, lane].T
    x = jnp.where(space.fixed[:, None], first, jnp.clip(first, space.low, space.high))

    def new(value: Array | float | bool, old: Array) -> Array:
        return _chosen(where, value, old)

    return _Lanes(
        number=number,
        data=new(queues.data[place, lane].T, at.data),
        hold=new(queues.hold[place, lane], at.hold),
        done=number >= queues.counts,
        x=new(x, at.x),
        nll=new(jnp.inf, at.nll),
        gradient=at.gradient,
        step=new(0.0, at.step),
        scale=new(1.0, at.scale),
        reused=new(False, at.reused),
        edm=new(jnp.inf, at.edm),
        iterations=new(-1, at.iterations),
        steps=tuple(new(0.0, item) for item in at.steps),
        changes=tuple(new(0.0, item) for item in at.changes),
    )


def _with_the_same_matrix(
    space: Space, at: _Lanes, free: Bool[Array, "parameter lane"], solve: Solve, tuning: Tuning, rules: Rules
) -> _Lanes:
    """Further steps with a matrix that is at hand, of which only the gradient has to be evaluated.

    A lane rests that is done, whose step was refused, or whose free parameters are no longer those of the matrix.
    """

    def step(state: tuple[Array, _Lanes, Array]) -> tuple[Array, _Lanes, Array]:
        number, at, rests = state
        target = space.target(at)
        nll, gradient = space.fast.gradient(space.arrays, target, at.data)
        changed = jnp.any(free != _free(space, at, target, gradient, rules.hold_steps), axis=0)
        rests = at.done | (at.scale < 1) | changed
        at = _advanced(space, at, rests, _Evaluation(target, nll, gradient, free), solve, rules, reused=True)
        return number + 1, at, rests

    def wanted(state: tuple[Array, _Lanes, Array]) -> Array:
        number, at, rests = state
        return (number < jnp.where(rules.foresee, tuning.matrix_reuse, 0)) & ~jnp.all(rests | at.done)

    _, at, _ = lax.while_loop(wanted, step, (jnp.zeros((), dtype=jnp.int32), at, at.done))
    return at


def _free(
    space: Space,
    at: _Lanes,
    x: Float[Array, "parameter lane"],
    gradient: Float[Array, "parameter lane"],
    hold_steps: Int[Array, ""],
) -> Bool[Array, "parameter lane"]:
    """The parameters that a step from x changes."""
    hold = jnp.where(_holds(at, hold_steps), at.hold, -1)
    return space.movable(x, gradient) & (jnp.arange(len(x))[:, None] != hold[None])


def _holds(at: _Lanes, hold_steps: Int[Array, ""]) -> Bool[Array, " lane"]:
    """Where a parameter is still held."""
    return (at.iterations < hold_steps - 1) & (at.hold >= 0)


def _advanced(
    space: Space,
    at: _Lanes,
    rests: Bool[Array, " lane"],
    evaluation: _Evaluation,
    solve: Solve,
    rules: Rules,
    *,
    reused: bool,
) -> _Lanes:
    """The lanes after an evaluation with a matrix of its points, or with a ``reused`` one; those that rest do not change.

    A step from a reused matrix that does not lower the nll is given up: the next evaluation is where it began.

    Args:
        space: what all toys share.
        at: the lanes before.
        rests: where lanes rest.
        evaluation: the points to which their steps led.
        solve: H⁻¹ g over the free parameters, of the Fisher information H.
        rules: when a search ends.
        reused: whether the matrix is one of other points.
    """
    # In parts that are the same for both kinds of matrix, and so are compiled once.
    steps, changes, gradient = apart(_remembered, at, evaluation)
    free = evaluation.free
    step = -corrected(solve, [item * free for item in steps], [item * free for item in changes], gradient)
    return apart(partial(_moved, space), at, rests, evaluation, (steps, changes, step), rules, jnp.asarray(reused))


def _remembered(
    at: _Lanes, evaluation: _Evaluation
) -> tuple[tuple[Array, ...], tuple[Array, ...], Float[Array, "parameter lane"]]:
    """The last steps and changes of the gradient, with those that led to the evaluated points; and the gradient there."""
    near = at.edm < _MEMORABLE_EDM
    step, change = (_chosen(near, new, 0.0) for new in (evaluation.target - at.x, evaluation.gradient - at.gradient))
    return (*at.steps[1:], step), (*at.changes[1:], change), evaluation.gradient * evaluation.free


def _moved(
    space: Space,
    at: _Lanes,
    rests: Bool[Array, " lane"],
    evaluation: _Evaluation,
    proposal: tuple[tuple[Array, ...], tuple[Array, ...], Float[Array, "parameter lane"]],
    rules: Rules,
    reused: Bool[Array, ""],
) -> _Lanes:
    """``_advanced`` with the steps, changes and next step that are proposed."""
    steps, changes, step = proposal
    edm = -0.5 * jnp.sum(evaluation.gradient * step, axis=0)
    taken = _accepted(at, evaluation, edm)
    first = jnp.isinf(at.nll)
    there = _finished(at, edm, taken, rules)
    scale = jnp.where(taken, 1.0, jnp.where(first | at.reused, 0.0, 0.25 * at.scale))
    iterations = at.iterations + 1
    end = _chosen(there & rules.foresee, space.inside(evaluation.target + step), evaluation.target)
    moved, changed = taken & ~rests, ~rests
    stuck = (scale <= _SMALLEST_SCALE) & (first | ~at.reused)
    done = changed & (there | (iterations >= rules.limit) | stuck)
    return at._replace(
        done=at.done | done,
        x=_chosen(moved, end, at.x),
        nll=_chosen(moved, evaluation.nll, at.nll),
        gradient=_chosen(moved, evaluation.gradient, at.gradient),
        step=_chosen(moved, step, at.step),
        scale=_chosen(changed, scale, at.scale),
        reused=_chosen(moved, reused, at.reused & ~changed),
        edm=_chosen(moved, edm, _chosen(done, jnp.inf, at.edm)),  # infinite where the last step was refused
        iterations=_chosen(changed, iterations, at.iterations),
        steps=tuple(_chosen(moved, new, old) for new, old in zip(steps, at.steps, strict=True)),
        changes=tuple(_chosen(moved, new, old) for new, old in zip(changes, at.changes, strict=True)),
    )


def _accepted(at: _Lanes, evaluation: _Evaluation, edm: Float[Array, " lane"]) -> Bool[Array, " lane"]:
    """Where the step that led to the evaluated point lowers the nll as its slope promised (Armijo), or is a toy's first."""
    gained = at.nll - evaluation.nll
    promised = jnp.sum(at.gradient * (at.x - evaluation.target), axis=0)
    noise = 1e-12 * (1 + jnp.abs(at.nll))
    good = (gained >= 1e-4 * promised) | (jnp.abs(promised) < noise) & (gained > -noise)
    return (good | jnp.isinf(at.nll)) & jnp.isfinite(evaluation.nll) & jnp.isfinite(edm)


def _finished(
    at: _Lanes, edm: Float[Array, " lane"], taken: Bool[Array, " lane"], rules: Rules
) -> Bool[Array, " lane"]:
    """Where the search is near enough: after the next step, if the distance falls as it did in the last one."""
    # The distance falls by about the same factor in each of the last steps, or by more.
    followed = rules.foresee & (at.scale == 1) & ~jnp.isinf(at.nll)
    rate = jnp.where(followed, jnp.minimum(4 * edm / at.edm, 1.0), 1.0)
    return taken & ~_holds(at, rules.hold_steps) & ((edm * rate <= rules.enough) | (edm <= 0.1 * rules.enough))


def _chosen(where: Bool[Array, " lane"], value: Array | float | bool, other: Array | float) -> Array:
    """``value`` in the lanes ``where`` it is wanted, else ``other``, (…, T)."""
    shape = jnp.shape(other) if jnp.ndim(other) else jnp.shape(value)
    lanes = where.reshape((1,) * (len(shape) - 1) + where.shape)
    return jnp.where(lanes, value, other)


def corrected(
    solve: Solve,
    steps: Sequence[Float[Array, "parameter lane"]],
    changes: Sequence[Float[Array, "parameter lane"]],
    gradient: Float[Array, "parameter lane"],
) -> Float[Array, "parameter lane"]:
    """H⁻¹ g with H₀⁻¹ corrected by steps and the changes of the gradient in them, oldest first.

    The two-loop recursion of L-BFGS (Nocedal & Wright, Numerical Optimization, 2nd ed., algorithm 7.4).
    """
    pairs = list(zip(steps, changes, strict=True))
    taken = []
    for step, change in reversed(pairs):
        gradient, weight, part = apart(_without, gradient, step, change)
        taken.append((weight, part))
    found = solve(gradient)
    for (step, change), (weight, part) in zip(pairs, reversed(taken), strict=True):
        found = apart(_with, found, step, change, weight, part)
    return found


def _without(
    gradient: Float[Array, "parameter lane"],
    step: Float[Array, "parameter lane"],
    change: Float[Array, "parameter lane"],
) -> tuple[Float[Array, "parameter lane"], Float[Array, " lane"], Float[Array, " lane"]]:
    """The gradient without what a step and its change say of it, 1 / (s·y), and s·g / (s·y); 0 where s·y is not positive."""
    inner = jnp.sum(step * change, axis=0)
    weight = jnp.where(inner > 0, 1 / jnp.where(inner > 0, inner, 1.0), 0.0)
    part = weight * jnp.sum(step * gradient, axis=0)
    return gradient - part[None] * change, weight, part


def _with(
    found: Float[Array, "parameter lane"],
    step: Float[Array, "parameter lane"],
    change: Float[Array, "parameter lane"],
    weight: Float[Array, " lane"],
    part: Float[Array, " lane"],
) -> Float[Array, "parameter lane"]:
    """H⁻¹ g with what a step and its change say of it."""
    back = weight * jnp.sum(change * found, axis=0)
    return found + (part - back)[None] * step
