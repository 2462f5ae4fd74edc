"""Captions of the figures on the report page: what to look for, and what was found. Needs no matplotlib."""

from __future__ import annotations

from toymill.inference.impacts import Impact
from toymill.report.numbers import counted, interval_error, one_line, per_cent, short_name, sigmas, with_error
from toymill.results.summary import ComparisonSummary, EnsembleSummary, Summary

IMPACTS_ON_A_PAGE = 30
"""Impacts of the first figure of them, and of each page of the other."""

TITLES = {
    "limit": "Upper limit",
    "interval": "Confidence intervals",
    "region": "Confidence region of two parameters",
    "discovery": "Tail of q_0",
    "goodness_of_fit": "Goodness of fit",
    "impacts": "Impacts",
    "all_impacts": "Every impact",
    "scan": "Scan over signals",
    "coverage": "Coverage",
    "t_mu": "Distribution of t_μ",
    "pull": "Pull",
    "parameters": "Every parameter",
    "correlation": "Correlations",
    "optimisers": "Optimisers",
}
"""The titles of the figures, by the kind that their file's name begins with."""

LOOK = {
    "limit": (
        "Left: CLs (or CL_s+b) of the observed data at each tested value, with Monte Carlo errors, on the bands that "
        "background-only toys have, and the asymptotic curves; the limit is where CLs falls to 1 - level. Look whether the "
        "data stay in the bands, and where the formula leaves the toys. Right: the observed limit and the expected ones from toys, on the expected bands, beside the asymptotic "
        "ones. Where the marks lie apart by more than the bars, the formula is off."
    ),
    "interval": (
        "Intervals by the Neyman construction. Left: the critical value of the likelihood ratio at each tested value, with "
        "Monte Carlo errors, beside the χ² quantile; a value is accepted where that of the data lies below. Right: the "
        "accepted values, with the Monte Carlo errors of their ends, beside the asymptotic interval."
    ),
    "region": (
        "Joint confidence region of two parameters by the Neyman construction. Points of the grid that toys accept, reject, or "
        "do not decide by three standard deviations; the contour of their p-values, and the asymptotic one. Look where the two "
        "contours part, and whether the region ends inside of the grid."
    ),
    "discovery": (
        "The p-value of the hypothesis without a signal beyond q_0. Weighted toys of several truth points reach far tails; "
        "plain toys without a signal must agree with them where they are many. Look whether the curve of the formula runs "
        "through the points at the observed q_0."
    ),
    "goodness_of_fit": (
        "The p-value of the observed data under each statistic, from toys at the best fit. A small one says that the model "
        "does not describe the data."
    ),
    "impacts": (
        "Left: pulls of the nuisance parameters in the fit to the observed data; look for points outside of the band, and for "
        "bars much shorter than it. Right: what each does to the parameter of interest: shifts of the observed fit, and the "
        "global impact of its auxiliary datum over toys."
    ),
    "all_impacts": (
        f"The same of every nuisance parameter, {IMPACTS_ON_A_PAGE} a page, the largest first, all on the same scales. Look "
        "whether a pull is far off where the impact is small, too."
    ),
    "scan": (
        "Above: the local p-value of each signal from toys, beside the asymptotic one, and the global p-value of the largest "
        "excess. Below: CLs of each signal, observed and as expected of toys without a signal; signals below 1 - level are "
        "excluded. Of two coordinates: the observed and the expected contour, interpolated between the points."
    ),
    "coverage": (
        "How often the intervals hold the true value, against the true value, for the profile-likelihood and the Hessian "
        "interval. Points should lie on the line within two or three bars, which are 68.27 % Clopper-Pearson intervals."
    ),
    "t_mu": (
        "The distribution of t_μ of the certified toys at each tested value, with the asymptotic distribution (Wald; "
        "arXiv:1007.1727) and the ratio of the two; an arrow stands where it leaves its panel. Points should follow the curve, in the tail "
        "above all."
    ),
    "pull": (
        "(estimate - truth) / error of the parameter of interest, with the error from the exact Hessian, beside a unit normal. "
        "The mean should be 0 and the width 1; a tail to one side says that the error is not symmetric."
    ),
    "parameters": (
        "The bias in units of the spread, the mean and the width less 1 of the pull, and the Cramér-Rao bound over the variance "
        "(1 for an efficient estimator). All but the last should be 0 within their errors. Where auxiliary data are held, pulls "
        "of constrained parameters are narrower. The share of toys at a bound, which biases an estimate, is beside its name."
    ),
    "correlation": (
        "How the estimates of the toys go together. Left: the correlations with the parameter of interest, the strongest "
        "first, with Monte Carlo errors, (1 - ρ²)/√(n - 1) of n toys. Beside it: the same parameters with each other, and all "
        "of them where there are more. Dark blue is -1, yellow is +1, grey is none; a blue or yellow block off the diagonal "
        "is a set of parameters that the data cannot tell apart."
    ),
    "optimisers": (
        "The same toys, each fitted by every optimiser from the model's initial values. The best minimum of a toy is the lowest "
        "that any of them found; a false success is a fit that calls itself converged at another point. Bars of shares are "
        "68.27 % Clopper-Pearson intervals. Distances below 1e-12 "
        "stand at 1e-12, those above 1e6 or infinite at 1e6. Times are wall-clock of one job on one core, after a first call "
        "that compiles."
    ),
}
"""What to look for in a figure, by its kind."""


def found_in_study(summary: Summary, kind: str) -> list[str]:
    """What a figure of the whole study shows.

    Args:
        summary: the summary.
        kind: which figure.
    """
    if kind == "coverage":
        return [_coverage(summary, level) for level in _levels(summary)]
    begin = f"{kind.replace('_', ' ')}: "
    lines = [line.removeprefix(begin) for line in summary.headline.answers if line.startswith(begin)]
    impacts = summary.answers.impacts if summary.answers else None
    if kind == "impacts" and impacts:
        known = [item for item in impacts.impacts if item.pull is not None]
        if known:
            far = max(known, key=lambda item: abs(item.pull or 0.0))
            lines.append(f"The largest pull is that of {short_name(far.parameter)}: {far.pull:.2f}.")
        if impacts.why_no_shifts:
            lines.append(impacts.why_no_shifts)
    if kind == "all_impacts" and impacts and impacts.impacts:
        lines.append(f"The largest is that of {_impact(impacts.impacts[0])}.")
        if len(impacts.impacts) > IMPACTS_ON_A_PAGE:
            beyond = impacts.impacts[IMPACTS_ON_A_PAGE]
            lines.append(f"The largest that the first figure leaves out is that of {_impact(beyond)}.")
    return [one_line(line, 600) for line in lines]


def _impact(item: Impact) -> str:
    """A parameter and its impact: the larger shift of the fit, and the global one over toys."""
    shifts = [abs(shift) for shift in (item.postfit_up, item.postfit_down) if shift is not None]
    told = [f"{max(shifts):.3g} in the fit"] if shifts else []
    if item.global_toys is not None:
        told.append(f"{with_error(item.global_toys, item.global_toys_error)} over toys")
    return f"{short_name(item.parameter)} ({', '.join(told) or 'not known'})"


def _levels(summary: Summary) -> list[str]:
    return list(next(iter(summary.ensembles.values())).intervals.profile) if summary.ensembles else []


def _coverage(summary: Summary, level: str) -> str:
    """How many truth points have the coverage that they should have, and which is farthest from it."""
    away: dict[str, float] = {}
    for name, item in summary.ensembles.items():
        found = item.intervals.profile[level]
        error = interval_error(found.coverage_low, found.coverage_high)
        distance = None if found.coverage is None else sigmas(found.coverage - float(level), error)
        if distance is not None:
            away[name] = distance
    if not away:
        return "No truth point has certified toys."
    far = max(away, key=lambda name: abs(away[name]))
    found = summary.ensembles[far].intervals.profile[level]
    shown = with_error(found.coverage, interval_error(found.coverage_low, found.coverage_high))
    near = sum(abs(value) <= 2 for value in away.values())
    return (
        f"At {100 * float(level):.4g} % the profile interval's coverage is within two errors of the level at {near} of "
        f"{len(away)} truth points; it is farthest from it at {far}: {shown}."
    )


def found_in_ensemble(summary: Summary, ensemble: str, kind: str) -> list[str]:
    """What a figure of one truth point shows.

    Args:
        summary: the summary.
        ensemble: name of the truth point.
        kind: which figure: t_mu, pull, parameters or correlation.
    """
    item = summary.ensembles[ensemble]
    if kind == "t_mu":
        return [f"{one_line(summary.poi, 40)} = {test.poi:g}: {test.verdict.sentence}" for test in item.tests]
    about = item.parameters[summary.poi]
    if kind == "pull":
        return [
            f"Mean {with_error(about.pull_mean, about.pull_mean_error)}, width "
            f"{with_error(about.pull_width, about.pull_width_error)}; {about.pulls:,} of {item.certified:,} certified toys "
            "have a pull."
        ]
    return _correlated(summary.poi, item) if kind == "correlation" else _parameters(item)


def _correlated(poi: str, item: EnsembleSummary) -> list[str]:
    """The parameters whose estimates are most correlated with that of interest, and how many clearly are."""
    known = {
        name: (about.poi_correlation, about.poi_correlation_error)
        for name, about in item.parameters.items()
        if name != poi and about.poi_correlation is not None
    }
    if not known:
        return ["No correlation is known."]
    first = sorted(known, key=lambda name: -abs(known[name][0]))[:3]
    told = ", ".join(f"{short_name(name)} ({with_error(*known[name])})" for name in first)
    clear = sum(abs(sigmas(*pair) or 0.0) > 3 for pair in known.values())
    return [
        f"The estimates of {clear} of {len(known)} parameters are correlated with those of {short_name(poi)} by more than "
        f"three errors. The most: {told}."
    ]


def _parameters(item: EnsembleSummary) -> list[str]:
    away = {
        name: sigmas(about.bias_in_rms, about.bias_in_rms_error)
        for name, about in item.parameters.items()
        if about.bias is not None
    }
    known = {name: value for name, value in away.items() if value is not None}
    if not known:
        return ["No parameter has a bias that is known."]
    far = max(known, key=lambda name: abs(known[name]))
    about = item.parameters[far]
    beyond = sum(abs(value) > 3 for value in known.values())
    lines = [
        f"The bias of {beyond} of {len(known)} parameters is beyond three errors. It is clearest in {short_name(far)}: "
        f"{with_error(about.bias_in_rms, about.bias_in_rms_error)} of its spread."
    ]
    held = max(item.parameters, key=lambda name: item.parameters[name].at_bound_share or 0.0)
    share = item.parameters[held].at_bound_share
    if share:
        lines.append(f"Most often at a bound: {short_name(held)}, in {per_cent(share)} of toys.")
    if item.drawn:
        lines.append(f"Drawn anew for each toy, so without a truth: {counted(len(item.drawn), 'parameter')}.")
    return lines


def found_by_optimisers(summary: ComparisonSummary, ensemble: str) -> list[str]:
    """Which optimisers reach the best minimum of every toy, the fastest of them, and which mislead."""
    methods = summary.ensembles[ensemble].methods
    sure = sorted((item.seconds_a_toy, name) for name, item in methods.items() if item.reached == item.toys)
    names = ", ".join(name for _, name in sure)
    lines = [
        f"At the best minimum of every toy: {names}; the fastest of these takes {1e3 * sure[0][0]:.3g} ms a toy ({sure[0][1]})."
        if sure
        else "No optimiser is at the best minimum of every toy."
    ]
    false = [f"{name} ({item.false_success} of {item.toys})" for name, item in methods.items() if item.false_success]
    lines.append(f"With false successes: {', '.join(false)}." if false else "None has a false success.")
    return lines


def mismodelled(poi: str, item: EnsembleSummary) -> str:
    """What an ensemble that is thrown from another model says of the one that is fitted."""
    about, without = item.parameters[poi], item.thrown_from.without_truth if item.thrown_from else []
    sentence = (
        f"thrown from another model than the fitted one; {poi} is biased by "
        f"{with_error(about.bias_in_rms, about.bias_in_rms_error)} of its spread."
    )
    return f"{sentence} Without a truth: {', '.join(without)}." if without else sentence
