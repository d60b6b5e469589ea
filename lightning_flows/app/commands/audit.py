"""``audit``: check the mathematics of a trained model, as ``check_flow`` checks that of any flow."""

from collections.abc import Iterator
from typing import Any

from lightning_flows.app.commands.options import check_numbers
from lightning_flows.errors import AuditError
from lightning_flows.progress import progress


def audit(
    ckpt_path: str, num: int = 4, seed: int = 0, max_values: int = 512, draws: int = 16, model: str | None = None
) -> None:
    """Check inverses, log-determinants, norms and bounds of a trained model on its own samples, and print a table.

    Args:
        ckpt_path: checkpoint of a trained model.
        num: number of samples.
        seed: seed of the samples.
        max_values: largest number of values for which a Jacobian is computed; of larger images, it is that of a crop.
        draws: number of draws per image for the likelihood.
        model: class path of your own model, if the checkpoint names it.
    """
    check_numbers(seed, 1.0, num=num, max_values=max_values, draws=draws)
    from lightning_flows.modules import load_model  # these take seconds
    from lightning_flows.reporting.tables.table import NONE, Table

    module = load_model(ckpt_path, model)
    measured = _measured(module, num, seed, max_values, draws)
    found = list(progress(measured, unit="check", desc="checking", leave=False))
    rows = [
        [
            each.name,
            NONE if each.value is None else f"{each.value:.2g}",
            f"{each.limit:.2g}",
            each.unit,
            NONE if each.value is None else "passed" if each.passes else "FAILED",
        ]
        for each in found
    ]
    print(Table(["check", "measured", "limit", "unit", ""], rows).markdown())
    if failures := [each for each in found if not each.passes]:
        raise AuditError(f"{len(failures)} of {len(found)} checks of {ckpt_path} failed: see the table")


def _measured(module: Any, num: int, seed: int, max_values: int, draws: int) -> Iterator[Any]:
    import torch

    from lightning_flows.functional.streams import stream
    from lightning_flows.modules import ImageFlowModule, VAEModule
    from lightning_flows.testing import trained

    if isinstance(module, VAEModule):
        images = module.model.sample(num, generator=stream(seed, "audit images"), draw_levels=True)
        yield from trained.audit_posterior(module.model, images, seed, max_values)
        yield from trained.audit_norms(module.model, images)
        yield trained.audit_bound(module.importance_sample(_batch(images), draws))
        return
    images_flow = isinstance(module, ImageFlowModule)
    flow = module.model.flow if images_flow else module.model
    yield from trained.audit_flow(flow, num, seed, max_values)
    with torch.no_grad():
        x = flow.sample(num, generator=stream(seed, "audit items"))
    if images_flow:
        images = module.pixels(x)
        yield from trained.audit_norms(module.model, images)
        yield trained.audit_bound(module.importance_sample(_batch(images), draws))
    else:
        yield from trained.audit_norms(flow, x)


def _batch(images: Any) -> dict[str, Any]:
    import torch

    return {"image": images, "index": torch.arange(len(images))}
