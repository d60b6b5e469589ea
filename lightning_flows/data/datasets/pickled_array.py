"""Read an array from a pickle as data: its opcodes are interpreted here, and no function that it names is called."""

import ast
import pickletools
import re
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from lightning_flows.data.datasets.array_files import Shape, check_shape
from lightning_flows.errors import DataError

MAX_OPCODES = 10_000  # of an array: about 50
MARK = object()
OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}


class Name(NamedTuple):
    """A function or class that the pickle names."""

    module: str
    name: str


@dataclass
class Call:
    """A call that the pickle asks for, which is not made, and the state of its result."""

    of: Name
    args: tuple
    state: Any = field(default=None)


RECONSTRUCT, FROM_BUFFER = Name("numpy", "_reconstruct"), Name("numpy", "_frombuffer")
NDARRAY, DTYPE, ENCODE = Name("numpy", "ndarray"), Name("numpy", "dtype"), Name("_codecs", "encode")


def unpickled_array(content: bytes, shape: Shape) -> np.ndarray:
    """Return the array of numbers that a pickle consists of, or the first one in its list or tuple.

    Protocols 0 to 5 of Python 2 and 3, and arrays of NumPy 1 and 2. Raises: DataError that states the fact if the
    pickle is damaged, has another shape, or contains anything else.
    """
    try:
        value = _interpret(content)
        while isinstance(value, list | tuple) and value:
            value = value[0]
        return _array(value, shape)
    except DataError:
        raise
    except Exception as error:  # any fault of a crafted or truncated pickle
        raise DataError("is damaged, or not the pickle of one array") from error


def _interpret(content: bytes) -> Any:
    """Return the value of a pickle: numbers, text, bytes, lists, tuples, names and calls that are not made."""
    file, stack, memo = BytesIO(content), list[Any](), dict[int, Any]()
    for _ in range(MAX_OPCODES):
        opcode = OPCODES[file.read(1)]
        if opcode.name == "STRING":  # pickletools reads only ASCII
            arg: Any = ast.literal_eval(f"b{file.readline().decode('ascii').strip()}").decode("latin1")
        else:
            arg = opcode.arg.reader(file) if opcode.arg else None
        match opcode.name:
            case "STOP":
                return stack.pop()
            case "PROTO" | "FRAME":
                pass
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[arg] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[arg])
            case _:
                _apply(opcode.name, arg, stack)
    raise DataError(f"is refused, because its pickle has more than {MAX_OPCODES} opcodes")


def _apply(name: str, arg: Any, stack: list[Any]) -> None:
    """Apply an opcode to the stack. Raises: DataError for one that pickles of arrays do not use."""
    match name:
        case "MARK":
            stack.append(MARK)
        case "NONE":
            stack.append(None)
        case "NEWTRUE" | "NEWFALSE":
            stack.append(name == "NEWTRUE")
        case "INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1" | "LONG4" | "UNICODE" | "BYTEARRAY8":
            stack.append(arg)
        case _ if name.removeprefix("SHORT_").startswith(("BINUNICODE", "BINBYTES", "BINSTRING", "STRING")):
            stack.append(arg)
        case "GLOBAL":
            stack.append(_known(*arg.split(" ")))
        case "STACK_GLOBAL":
            stack.append(_known(*_pop(stack, 2)))
        case "EMPTY_TUPLE":
            stack.append(())
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            stack.append(tuple(_pop(stack, int(name[-1]))))
        case "TUPLE":
            stack.append(tuple(_pop_to_mark(stack)))
        case "EMPTY_LIST":
            stack.append([])
        case "LIST":
            stack.append(_pop_to_mark(stack))
        case "APPEND" | "APPENDS":
            items = _pop(stack, 1) if name == "APPEND" else _pop_to_mark(stack)
            stack[-1].extend(items)
        case "REDUCE":
            stack.append(Call(*_pop(stack, 2)))
        case "BUILD":
            state = stack.pop()
            stack[-1].state = state
        case _:
            raise DataError(f"is refused, because its pickle contains something other than an array ({name})")


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    items = _pop(stack, stack[::-1].index(MARK))
    stack.pop()
    return items


def _pop(stack: list[Any], num: int) -> list[Any]:
    items = stack[len(stack) - num :]
    del stack[len(stack) - num :]
    return items


def _known(module: str, name: str) -> Name:
    """Return a name by which NumPy pickles arrays. Raises: DataError for any other."""
    found = Name(re.sub(r"^numpy\._?core\.(multiarray|numeric)$", "numpy", module), name)
    if found not in (RECONSTRUCT, FROM_BUFFER, NDARRAY, DTYPE, ENCODE):
        raise DataError(f"is refused, because its pickle names {module}.{name}, which is not part of an array")
    return found


def _array(value: Call, shape: Shape) -> np.ndarray:
    """Return an array from the calls that would make it: the shape is checked before memory is allocated."""
    if value.of == RECONSTRUCT:
        _, found, dtype, fortran, raw = value.state
    elif value.of == FROM_BUFFER:  # protocol 5
        raw, dtype, found, order = value.args
        fortran = order == "F"
    else:
        raise ValueError("not an array")
    check_shape("an array", found, shape)
    values = np.frombuffer(_bytes(raw), _dtype(dtype))
    return values.reshape(found[::-1]).T if fortran else values.reshape(found)


def _dtype(value: Call) -> np.dtype:
    """Return the dtype of calls such as ``dtype("f8")`` with the state ``(3, "<", …)``."""
    code, order = value.args[0], value.state[1]
    if value.of != DTYPE or not re.fullmatch(r"[buif][1248]", code) or order not in "<>|=":
        raise DataError(f"has an array of {code}, not of numbers")
    return np.dtype(f"{order}{code}")


def _bytes(value: Any) -> bytes:
    """Return bytes: as they are, as a string of Python 2, or as protocols 0 to 2 of Python 3 write them."""
    if isinstance(value, Call) and value.of == ENCODE and value.args[1] == "latin1":
        value = value.args[0]
    return value.encode("latin1") if isinstance(value, str) else bytes(value)
