"""What is wrong with a field of a table."""

import math

import numpy as np

MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-", "<na>", "#n/a", "."}
"""What stands for a missing value, in lower case."""


def is_missing(field: str) -> bool:
    """Whether a field stands for a missing value."""
    return field.strip().lower().removeprefix("-") in MISSING


def is_number(field: str) -> bool:
    """Whether a field is a number as NumPy reads it, which may be infinite.

    >>> [is_number(field) for field in ("1", " -2.5e3 ", "inf", "1_0", "1,5", "")]
    [True, True, True, False, False, False]
    """
    try:
        return not is_missing(field) and field.isascii() and "_" not in field and float(field) == float(field)
    except ValueError:
        return False


def why_not(field: str) -> str:
    """Why a field has no finite value in float32, and what to do; empty if it has one.

    >>> why_not("NaN"), why_not("1.5")
    ('the value is missing: fill in a number', '')
    """
    if is_missing(field):
        return "the value is missing: fill in a number"
    if not is_number(field):
        comma = is_number(field.strip().replace(",", "."))
        text = repr(field.strip()[:40])
        return f"{text} is not a number: write {'a decimal point' if comma else 'one'}"
    return not_finite(float(field))


def not_finite(value: float) -> str:
    """Why a value is not finite in float32, and what to do; empty if it is.

    >>> not_finite(1e300)
    'the value 1e+300 exceeds float32: rescale the column'
    """
    if math.isnan(value):
        return "the value is missing (NaN): fill in a number"
    if math.isinf(value):
        return f"the value is {'-' if value < 0 else ''}infinite: replace it"
    return f"the value {value:g} exceeds float32: rescale the column" if _exceeds(value) else ""


def _exceeds(value: float) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isinf(np.float32(value)))
