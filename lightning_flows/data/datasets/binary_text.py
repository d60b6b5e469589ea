"""Binary images as text: a line of zeros and ones per image."""

from pathlib import Path

import numpy as np

from lightning_flows.errors import DataError

CHUNK = 2**20  # bytes
DIGIT, SPACE, END = 1, 2, 3
KINDS = np.zeros(256, np.uint8)
KINDS[list(b"01")], KINDS[list(b" \t\r")], KINDS[ord("\n")] = DIGIT, SPACE, END


def read_binary_text(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a text file of zeros and ones, separated by spaces, as uint8 of ``shape``: lines and numbers per line.

    Besides the result, this needs about 25 MiB of memory.
    Raises: DataError that states the fact for any other content.
    """
    values, count, after_digit = np.empty(shape[0] * shape[1], np.uint8), 0, False
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            characters = np.frombuffer(chunk, np.uint8)
            kinds = KINDS[characters]
            if not kinds.all():
                raise DataError("has characters other than 0, 1 and spaces")
            digit = kinds == DIGIT
            if (after_digit and digit[0]) or (digit[1:] & digit[:-1]).any():
                raise DataError("has numbers other than 0 and 1")
            before = count + np.cumsum(digit, dtype=np.int64)
            if (before[kinds == END] % shape[1]).any():
                raise DataError(f"has a line that is not of {shape[1]} numbers")
            if before[-1] > len(values):
                raise DataError(f"has more than {shape[0]} lines of {shape[1]} numbers")
            values[count : before[-1]] = characters[digit] - ord("0")
            count, after_digit = int(before[-1]), bool(digit[-1])
    if count != len(values):
        raise DataError(f"has only {count / shape[1]:.1f} of {shape[0]} lines of {shape[1]} numbers")
    return values.reshape(shape)
