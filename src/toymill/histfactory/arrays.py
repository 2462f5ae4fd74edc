"""A HistFactory model as arrays: the constants of its likelihood (CERN-OPEN-2012-016). Needs no JAX.

Parameters come in two orders, in all of ``histfactory``:

- ``x`` is always in the model's order, (parameter, …), as ``Parameters`` has it.
- ``theta`` is always in the order by kind, (place, …): first the parameters that interpolate between templates, of these
  first those with a histosys and last those with a normsys (in the middle those with both); then the multi-bin factors
  (normfactor, lumi, and others that multiply yields in several bins); then the single-bin factors (staterror, shapesys,
  shapefactor); then the parameters that do nothing. What a kind does is then a slice. A place is an index in this order.
  The first two kinds are the ``several``, for they may change several bins; the others are the ``own``, see ``arrow``.

A parameter that both interpolates and multiplies is at two places: there are then more places than parameters.

The other axes: several and own (places of either), row and block (the own places by block: one block for each bin, with
its factors, then one for each parameter that does nothing), sample (a slot: the largest number of samples in a channel), bin (of all channels), channel, interpolating,
histosys, normsys, multi (bin factors), single (bin factors), sum and term (of sparse sums, see ``terms``), scanned (values
of a parameter, see ``second_minima``). A cell is a sample in a bin, or for a normsys a sample in a channel. The expectation
of a bin is the sum over its samples; an empty slot has zero yield.

Each tuple is generic in its arrays: NumPy's as compiled, JAX's inside a program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from toymill.parameters import Constraints

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

A = TypeVar("A")


class Order(NamedTuple, Generic[A]):
    """The order of parameters by kind.

    Attributes:
        parameters: the model's parameter at each place.
        places: the places of each of the model's parameters: in the first row one, in the next another one of a
            parameter of two kinds, padded with the number of places.
        interpolating: the parameters at the first places, which interpolate.
        unconstrained: the places of parameters without a constraint.
    """

    parameters: Int[A, " place"]
    places: Int[A, "row parameter"]
    interpolating: Int[A, " interpolating"]
    unconstrained: Int[A, " unconstrained"]


class ShiftGroup(NamedTuple, Generic[A]):
    """Sums of up to as many terms each as ``entry`` has columns, of what histosys add.

    Attributes:
        entry: what each term is of: a cell, or a parameter with a histosys.
        linear: ``Histosys.linear`` of each term, 0 for terms that are too many.
        even: ``Histosys.even`` of each term, 0 for terms that are too many.
        row: what each sum is of: a parameter with a histosys, or a cell.
    """

    entry: Int[A, "sum term"]
    linear: Float[A, "sum term"]
    even: Float[A, "sum term"]
    row: Int[A, " sum"]


class ShiftSums(NamedTuple, Generic[A]):
    """Sparse sums of what histosys add.

    Attributes:
        groups: sums of one term, of up to two, up to four, and so on.
        position: where each sum stands among those of all groups, their number for a sum without terms.
    """

    groups: tuple[ShiftGroup[A], ...]
    position: Int[A, " ..."]


class Histosys(NamedTuple, Generic[A]):
    """What histosys add to yields: α times ``linear`` plus g(α) times ``even``.

    Attributes:
        linear: what α times this adds to a yield.
        even: what g(α) times this adds to a yield; g is even.
        shape: g of each parameter: c₂α² + c₄α⁴ + c₆α⁶ for |α| < e and s|α| + t beyond; rows e, c₂, c₄, c₆, s, t.
        jacobian: sums over the cells of a bin, for each parameter and bin: ∂ν_b/∂α.
        yields: sums over parameters, for each cell: what is added to it. Here ``entry`` is a parameter, ``row`` a cell.
        gradient: sums over all cells, for each parameter.
    """

    linear: Float[A, "histosys sample bin"]
    even: Float[A, "histosys sample bin"]
    shape: Float[A, "6 histosys"]
    jacobian: ShiftSums[A]
    yields: ShiftSums[A]
    gradient: ShiftSums[A]


class ScaleGroup(NamedTuple, Generic[A]):
    """Sums of up to as many terms each as ``factor`` has columns, of what normsys do.

    Attributes:
        factor: the normsys factor of each term, the number of factors for terms that are too many.
        cell: the cell of each term.
    """

    factor: Int[A, "sum term"]
    cell: Int[A, "sum term"]


class ScaleSums(NamedTuple, Generic[A]):
    """Sparse sums of what normsys do.

    Attributes:
        groups: sums of one term, of up to two, up to four, and so on.
        position: where each sum stands among those of all groups, their number for a sum without terms.
    """

    groups: tuple[ScaleGroup[A], ...]
    position: Int[A, " ..."]


class Products(NamedTuple, Generic[A]):
    """Products of the normsys factors of a sample in a channel.

    Attributes:
        groups: the factors of each product, of one factor, of up to two, up to four, and so on; the number of factors
            stands for the constant 1.
        position: where each product stands among those of all groups, their number for a product without factors.
    """

    groups: tuple[Int[A, "product factor"], ...]
    position: Int[A, "sample channel"]


class Normsys(NamedTuple, Generic[A]):
    """What normsys multiply yields by: a factor f(α) for each parameter, sample and channel.

    Attributes:
        log_hi: log f(+1); zero where there is no factor.
        log_lo: log f(-1); zero where there is no factor.
        polynomial: coefficients of α to α⁶ of f within ±1.
        edge: |α| from which the factors of a parameter are exponential: 1 or 0.
        cell: of all parameters × samples × channels those that have a factor.
        position: the position of each among these, their number for those without a factor.
        products: of the factors of each sample and channel.
        jacobian: sums over the cells of a bin, for each parameter and bin: ∂ν_b/∂α.
        gradient: sums over all samples and channels, for each parameter.
    """

    log_hi: Float[A, "normsys sample channel"]
    log_lo: Float[A, "normsys sample channel"]
    polynomial: Float[A, "6 normsys sample channel"]
    edge: Float[A, " normsys"]
    cell: Int[A, " factor"]
    position: Int[A, "normsys sample channel"]
    products: Products[A]
    jacobian: ScaleSums[A]
    gradient: ScaleSums[A]


class Multipliers(NamedTuple, Generic[A]):
    """What multiplies yields by a parameter itself.

    Attributes:
        places: places of the parameters that multiply a yield, padded with the number of places, which stands for the
            constant 1.
        multi_present: 1 where a multi-bin factor multiplies a yield.
        single_bin: the bin of each single-bin factor.
        blocks: which of the own places are in each block, padded with their number.
        single_present: 1 where a single-bin factor multiplies a sample's yield in its bin.
    """

    places: Int[A, "depth sample bin"]
    multi_present: Float[A, "multi sample bin"]
    single_bin: Int[A, " single"]
    blocks: Int[A, "row block"]
    single_present: Float[A, "single sample"]


class Loose(NamedTuple, Generic[A]):
    """Loosely constrained factors, and what else multiplies the yields of their cells; see ``products``.

    Attributes:
        places: of these factors.
        tau: expected auxiliary count per unit of each.
        datum: index of its auxiliary datum.
        yields: nominal yield of its cells.
        cells: True for these.
        shares: of the nominal yield, by bin.
        terms: places of the parameters that interpolate these yields, any place in the rest of a row.
        scale: logarithm of what normsys multiply the yield by where such a parameter is 1, and -1.
        shift: what histosys add to it there, relative to the nominal yield.
    """

    places: Int[A, " loose"]
    tau: Float[A, " loose"]
    datum: Int[A, " loose"]
    yields: Float[A, " loose"]
    cells: Bool[A, "loose sample bin"]
    shares: Float[A, "loose bin"]
    terms: Int[A, "loose term"]
    scale: Float[A, "loose 2 term"]
    shift: Float[A, "loose 2 term"]


class Scan(NamedTuple, Generic[A]):
    """Where each fit is asked for second minima; see ``second_minima`` and ``profiles``.

    Attributes:
        places: places of the parameters along which the nll is scanned, (K,).
        response: how each cell's nominal expectation, relative to that at 0, goes with such a parameter: coefficients of
            the J functions ``basis``, which are added to 1, (bin, J · K, sample).
        basis: these functions at the values ``second_minima.SCANNED``.
        loose: the loosely constrained factors whose products are searched.
    """

    places: Int[A, " candidate"]
    response: Float[A, "bin coefficient sample"]
    basis: Float[A, "basis scanned"]
    loose: Loose[A]


class Templates(NamedTuple, Generic[A]):
    """The constants of a HistFactory likelihood.

    Attributes:
        nominal: nominal yields.
        bin_channel: the channel of each bin.
        order: the order of parameters by kind.
        histosys: what histosys add.
        normsys: what normsys multiply by.
        multipliers: what is multiplied by a parameter itself.
        constraints: the auxiliary data, with places for parameters.
        scan: what the search for second minima needs.
    """

    nominal: Float[A, "sample bin"]
    bin_channel: Int[A, " bin"]
    order: Order[A]
    histosys: Histosys[A]
    normsys: Normsys[A]
    multipliers: Multipliers[A]
    constraints: Constraints[A]
    scan: Scan[A]
