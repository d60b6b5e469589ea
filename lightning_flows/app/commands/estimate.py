"""Expected time of runs, estimated from a few steps of each before they start."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_flows.app.commands.processes import say
from lightning_flows.app.configs import configs_first, find_configs

if TYPE_CHECKING:
    from lightning_flows.app.bench import Bench

ITEMS = 32
"""Items of the batches that are evaluated."""
START = 10.0
"""Seconds that a process takes to start."""


class Cost(NamedTuple):
    """Expected seconds of ``fit`` and of ``test``."""

    fit: float
    test: float


class Estimates:
    """Expected time of runs, measured once for each distinct configuration, however many seeds and rates it has.

    For ``fit``: steps · seconds per step + validations · items · seconds per item. For ``test``: items · seconds per
    item. Both are measured on this machine with the configuration's own batch size, and take 10 seconds to start.
    Callbacks are not included.

    Args:
        threads: threads of a run; None for torch's choice.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads
        self._costs: dict[tuple[str, ...], Cost | None] = {}
        self._items: dict[str, dict[str, int]] = {}

    def __call__(self, fit: Sequence[str], test: Sequence[str]) -> Cost | None:
        """Cost of a run, None if it cannot be measured; see :data:`Costs`. Raises: FlowsError if it cannot run."""
        options = [option for option in fit if not option.startswith("--optimizer.lr=")]
        key = (*options, "", *test)
        if key not in self._costs:
            if not self._costs:
                say("timing a few steps of each configuration to estimate the total time")
            self._costs[key] = self._measured(options, test)
        return self._costs[key]

    def _measured(self, options: Sequence[str], test: Sequence[str]) -> Cost | None:
        import torch

        from lightning_flows.errors import FlowsError

        before = torch.get_num_threads()
        try:
            torch.set_num_threads(self.threads or before)
            fit = _bench(options, self._fit)
            return Cost(fit, _bench([*options, *test], self._test))
        except FlowsError:  # the run could not start either
            raise
        except Exception as error:  # such as a module of the user's own that rejects random data
            say(f"cannot estimate the time: {error or type(error).__name__}")
            return None
        finally:
            torch.set_num_threads(before)

    def _fit(self, bench: "Bench", trainer: Mapping[str, Any]) -> float:
        items, data = self._sizes(bench.data, "fit"), bench.data.hparams
        bench.fill(batch := data["batch_size"])
        step = _seconds(bench, partial(bench.step, _eager(bench)))
        batches = data.get("steps_per_epoch") or max(1, items["train"] // batch)
        per_epoch = _limited(batches, trainer.get("limit_train_batches"))
        limits = [trainer.get("max_steps") or -1, (trainer.get("max_epochs") or -1) * per_epoch]
        steps = min((limit for limit in limits if limit > 0), default=0)
        every = trainer.get("check_val_every_n_epoch") or 1
        validations = steps // (per_epoch * every)
        size = data["eval_batch_size"] or batch
        num = size * _limited(math.ceil(items["val"] / size), trainer.get("limit_val_batches"))
        return START + steps * step + validations * min(num, items["val"]) * _evaluation(bench, "validation_step")

    def _test(self, bench: "Bench", trainer: Mapping[str, Any]) -> float:
        return START + self._sizes(bench.data, "test")["test"] * _evaluation(bench, "test_step")

    def _sizes(self, data: Any, stage: str) -> dict[str, int]:
        """Numbers of items in the splits of a stage, read once for the same data."""
        from lightning_flows.checkpoints import describe

        found = self._items.setdefault(repr(describe(data)), {})
        splits = ("train", "val") if stage == "fit" else ("test",)
        if not set(splits) <= set(found):
            data.prepare_data()
            data.setup(stage)
            found |= {split: data.num_items(split) for split in splits}
        return found


def summary(num: int, seconds: float) -> str:
    """A sentence on the expected time of runs.

    >>> summary(13, 15000.0), summary(1, 40.0)
    ('13 runs, about 4:10 h on this machine', '1 run, about 0:01 h on this machine')
    """
    hours, minutes = divmod(max(1, math.ceil(timedelta(seconds=seconds) / timedelta(minutes=1))), 60)
    return f"{num} run{'' if num == 1 else 's'}, about {hours}:{minutes:02d} h on this machine"


def _bench(options: Sequence[str], measure: Callable[["Bench", Mapping[str, Any]], float]) -> float:
    """Result of a measurement of the model of a command line, with random data."""
    from lightning_flows.app.bench import Bench
    from lightning_flows.app.benchmark_cli import BenchmarkCLI
    from lightning_flows.app.commands.options import chosen_device

    class Measurement(BenchmarkCLI):
        result = 0.0

        def start(self) -> None:
            bench = Bench(self.model, self.datamodule, chosen_device(None))
            self.result = measure(bench, self.config_init.trainer.as_dict())

    args = ["benchmark", *options, "--seed_everything=false"]
    return Measurement(configs_first(find_configs(args))).result


def _eager(bench: "Bench") -> Any:
    from lightning_flows.app.bench import Variant

    return Variant(nullcontext, bench.loss)


def _seconds(bench: "Bench", step: Callable[[int], object], *, num: int = 4) -> float:
    """Median seconds of training steps after the first one."""
    return sorted(bench.seconds(partial(step, i)) for i in range(num))[(num - 1) // 2]


def _evaluation(bench: "Bench", name: str) -> float:
    """Seconds per item of a validation or test."""
    import torch

    bench.fill(ITEMS)
    bench.module.eval()
    with torch.no_grad():
        return bench.seconds(lambda: getattr(bench.module, name)(bench.batch, 0)) / ITEMS


def _limited(num: int, limit: Any) -> int:
    """Number of batches with a limit of Lightning: a number, or a share.

    >>> _limited(125, 20), _limited(125, 20.0), _limited(125, 0.5), _limited(125, 1.0), _limited(125, None)
    (20, 20, 62, 125, 125)
    """
    if limit is None:
        return num
    return min(num, int(limit)) if isinstance(limit, int) or limit > 1 else int(num * limit)
