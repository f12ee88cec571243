"""From a measured dx, dgamma or dbeta to causes."""

from __future__ import annotations

from dataclasses import replace

from refnorm.conventions.row import Convention
from refnorm.oracle.finding import Cause
from refnorm.oracle.measure import known_gradients as gradients
from refnorm.oracle.measure import known_maps as maps
from refnorm.oracle.measure.known import OTHER, Known, eps_fixed_at
from refnorm.oracle.measure.naming import FIXED, cause, written
from refnorm.oracle.measure.products import Product
from refnorm.oracle.measure.read_dx import Dx
from refnorm.oracle.measure.read_forward import BY_BATCH, BY_RUNNING
from refnorm.oracle.measure.read_parameters import Summed
from refnorm.oracle.measure.read_running import defined_update


def dx_causes(found: Dx, quantity: str) -> list[Cause]:
    """Name what dx deviates in."""
    frozen = quantity.startswith("frozen")
    measured, expected = _dx_words(found), DX[frozen]
    products = {"dy": found.own, "mean dy": found.of_mean, "x - mean": found.of_x_hat}
    numbers = {f"{term}: {p}": p.constant for term, p in products.items() if p.constant}

    def named(entry: Known) -> Cause:
        return cause(entry, measured, expected, "", numbers)

    result = []
    if found.divisor is not None:
        measured = f"{measured}, {found.divisor}"
        result.append(_own_divisor(str(found.divisor), measured, expected))
    terms = [p for p in (found.own, found.of_mean, found.of_x_hat) if p.constant]
    if not terms:
        return [named(gradients.ZEROS)]
    if some := [p.words()["part"] for p in terms if "part" in p.words()]:
        title = f"a sum in dx leaves values out, or counts some twice: {' and '.join(some)}"
        result.append(replace(named(gradients.SOME_VALUES), title=title))
    fronts = {_front(p) for p in terms}
    if len(fronts) > 1 or any(p.constant for p in found.also):
        return [*result, named(OTHER["dx"])]
    gamma, inverse = fronts.pop()
    key = _coefficient(found.own), _coefficient(found.of_mean), _coefficient(found.of_x_hat)
    if (gamma, inverse, key) == ("1", "", ("1", "0", "0")):
        return [named(gradients.UPSTREAM)]
    if gamma != "gamma":
        result.append(named(gradients.GAMMAS.get(gamma, OTHER["dx"])))
    within = _within_x_hat(found.of_x_hat)
    if within not in ("/ std", inverse):
        return [*result, named(OTHER["dx"])]
    if inverse != "/ std":
        result.append(named(gradients.INVERSES.get(inverse, OTHER["dx"])))
    if key != (("1", "0", "0") if frozen else ("1", "-1", "-1")):
        table = gradients.FROZEN_TERMS if frozen else gradients.TERMS
        result.append(named(table.get(key, OTHER["dx"])))
    return list(dict.fromkeys(result))


def _own_divisor(words: str, measured: str, expected: str) -> Cause:
    """Name what a backward divides by, if its forward does not."""
    common = words.replace("running variance", "var")
    fixed = FIXED.match(common)
    entry = gradients.WITHOUT_EPS if common == "std^2 = var" else maps.DIVISORS.get(common, OTHER["divisor"])
    entry = eps_fixed_at(fixed.group(1)) if fixed else entry
    found = cause(entry, measured, expected, f"the backward divides by another value: {words}")
    return found if "backward" in found.title else replace(found, title=f"{found.title}: in the backward alone")


PARAMETERS = {"dgamma": "dgamma = sum dy (x - mean) / std", "dbeta": "dbeta = sum dy"}
DX = "dx = gamma / std (dy - mean(dy) - x_hat mean(dy x_hat))", "dx = gamma / std dy"


def _dx_words(found: Dx) -> str:
    """Return dx as a formula, what its terms share taken out if they share gamma and an inverse."""
    terms = [
        (p, text)
        for p, text in ((found.own, "dy"), (found.of_mean, "mean{}(dy)"), (found.of_x_hat, "x_hat mean{}(dy x_hat)"))
        if p.constant
    ]
    fronts = {_front(p) for p, _ in terms}
    within = _within_x_hat(found.of_x_hat)
    if len(fronts) != 1 or any(p.constant for p in found.also) or any("part" in p.words() for p, _ in terms):
        return f"dx = {found.words()}"
    gamma, inverse = fronts.pop()
    if within not in ("/ std", inverse):
        return f"dx = {found.words()}"
    front = " ".join(word for word in (gamma if gamma != "1" or inverse[:1] == "/" else "", inverse) if word)
    signed = []
    for p, text in terms:
        summed = p.words().get("sum", "")
        region = maps.REGION.search(summed)
        over = region.group() + " " if region else " of the shards' means " if "shards" in summed else ""
        count = p.words().get("count", "1")
        size = abs(p.constant)
        factors = f"{size:.7g}" if size != 1 else "", count if count != "1" else "", text.format(over)
        signed.append(("-" if p.constant < 0 else "") + " ".join(filter(None, factors)))
    inside = " + ".join(signed).replace("+ -", "- ")
    whole = f"dx = {front} ({inside})" if len(terms) > 1 and front else f"dx = {front} {inside}".replace("  ", " ")
    return whole if within == "/ std" else f"{whole}, x_hat = {f'(x - mean) {within}' if within else 'x - mean'}"


def _front(p: Product) -> tuple[str, str]:
    """Return gamma's and the inverse's part of a product, that of x_hat's two more inverses taken off."""
    words = p.words()
    inverse = words.get("inverse", "/ std")
    if "squares" in words:
        square = words["squares"]
        inverse = square.split(" (")[0] if square.endswith(")^2") else square
        inverse = "/ std" if _is_usual(words) else inverse
    return words.get("gamma", "gamma"), inverse


def _is_usual(words: dict[str, str]) -> bool:
    """Whether what divides x_hat's term is std, as often as its sum does not divide by it already."""
    return words.get("squares", "/ std^3") == ("/ std^2" if words.get("sum", "").endswith("x_hat") else "/ std^3")


def _within_x_hat(p: Product) -> str:
    """Return what multiplies x - mean in x_hat, where the product of x_hat's term tells."""
    words = p.words()
    if _is_usual(words):
        return "/ std"
    square = words["squares"]
    return square.split(" (")[1].removesuffix(")^2") if square.endswith(")^2") else ""


def _coefficient(p: Product) -> str:
    """Return the constant and counts of a product, and over what a sum is taken if that is not the channel."""
    if not p.constant:
        return "0"
    words = p.words()
    count = words.get("count", "1")
    size = abs(p.constant)
    text = count if size == 1 else f"{size:.7g}" if count == "1" else f"{size:.7g} {count}"
    summed = words.get("sum", "")
    region = maps.REGION.search(summed)
    over = region.group() if region else " by shards" if "shards" in summed else ""
    return ("-" if p.constant < 0 else "") + text + over


def parameter_causes(found: Summed, quantity: str) -> list[Cause]:
    """Name what dgamma or dbeta deviates in."""
    which = quantity.removeprefix("frozen ")
    expected = PARAMETERS[which]
    measured = f"{which} = {found.words()}"
    if found.divisor is not None:
        return [_own_divisor(str(found.divisor), f"{measured}, {found.divisor}", expected)]
    if measured == expected:
        return []
    numbers = {str(found.product): found.product.constant}
    if found.added.constant:
        decayed = found.words().split(" + ")[0] == expected.split(" = ")[1]
        decayed = decayed and found.added.words()["added"] == {"dgamma": "gamma", "dbeta": "beta"}[which]
        return [cause(gradients.DECAYED if decayed else OTHER[which], measured, expected, "", numbers)]
    if some := found.product.words().get("part"):
        title = f"a sum leaves values out, or counts some twice: {some}"
        return [replace(cause(gradients.SOME_VALUES, measured, expected, "", numbers), title=title)]
    return [cause(gradients.PARAMETERS.get((which, found.words()), OTHER[which]), measured, expected, "", numbers)]


def expected_formula(quantity: str, row: Convention) -> str:
    """Return what a convention says of a quantity, as a formula.

    Examples
    --------
    >>> from refnorm.conventions import CONVENTIONS
    >>> expected_formula("running variance", CONVENTIONS["torch"])
    'running variance = (1 - a) running variance + a unbiased var'
    """
    which = quantity.removeprefix("frozen ")
    if quantity.startswith("running"):
        return f"{quantity} = {defined_update(row, quantity.split()[1])}"
    if which == "dx":
        return DX[quantity.startswith("frozen")]
    if which in PARAMETERS:
        return PARAMETERS[which]
    return written(BY_BATCH if quantity == "y, training" else BY_RUNNING)
