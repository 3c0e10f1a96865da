"""The state of a run, saved whole and checked before it is used."""

import hashlib
import io
from dataclasses import dataclass, field
from typing import Any

import torch

from ..failure import Failure
from ..storage import Lease, SavedCheckpoint, Store


@dataclass(slots=True)
class Run:
    """All that a run needs to go on as if it had never stopped; `rng` is as it was after `step` steps."""

    model: Any
    optimiser: torch.optim.Optimizer
    scheduler: Any
    rng: list[torch.Tensor]
    data_digest: str
    step: int = 0
    response_tokens: int = 0
    """How many were learned in these steps."""
    train_losses: list[float] = field(default_factory=list)
    validation_losses: dict[int, float] = field(default_factory=dict)

    def parameters(self) -> dict[str, torch.Tensor]:
        """What is trained, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def rng_state() -> list[torch.Tensor]:
    """The state of the generators that the loop draws from: the host's and the device's."""
    device = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *device]


def save(run: Run, rngs: list[list[torch.Tensor]], store: Store, lease: Lease, keep: int) -> SavedCheckpoint:
    """Write a checkpoint, then make it count; `rngs` holds the generators of every worker by rank."""
    buffer = io.BytesIO()
    state = {
        "step": run.step,
        "parameters": {name: p.detach().cpu() for name, p in run.parameters().items()},
        "optimiser": run.optimiser.state_dict(),
        "scheduler": run.scheduler.state_dict(),
        "rngs": rngs,
        "response_tokens": run.response_tokens,
        "train_losses": run.train_losses,
        "validation_losses": run.validation_losses,
    }
    torch.save(state, buffer)
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    saved = SavedCheckpoint(
        step=run.step,
        attempt=lease.record.attempt,
        sha256=digest,
        size_bytes=len(data),
        data_digest=run.data_digest,
    )
    store.write(saved.file, data)
    for dropped in lease.commit(saved, keep):
        store.remove(dropped.file)
    return saved


def newest_intact(store: Store, lease: Lease, data_digest: str) -> tuple[SavedCheckpoint | None, list[str]]:
    """The newest checkpoint of these data whose bytes are what was written, and why it is not the newest of all.

    Other data would put rows that were trained on into the validation part. Raises `CorruptCheckpoint` if there were
    some and none is good: starting over is for a person to say.
    """
    skipped: list[str] = []
    if not lease.record.checkpoints and lease.record.earlier:
        return None, ["begins anew, for its settings are not those of the attempts before; what they saved is kept"]
    same = [saved for saved in lease.record.checkpoints if saved.data_digest == data_digest]
    if lease.record.checkpoints and not same:
        return None, ["begins anew, for its data are not those of the attempts before"]
    for saved in same:
        fault = _fault(store, saved)
        if fault is None:
            return saved, skipped
        skipped.append(f"skipped the checkpoint of step {saved.step}: {fault}")
    if skipped:
        raise Failure("CorruptCheckpoint", f"{'; '.join(skipped)}. None is left: to start over, remove {store.place}")
    return None, skipped


def restore(run: Run, store: Store, saved: SavedCheckpoint, rank: int) -> None:
    """Put the run back to where `saved` left it; raise `CorruptCheckpoint` if its bytes changed."""
    data = store.read(saved.file)
    if hashlib.sha256(data).hexdigest() != saved.sha256:
        raise Failure("CorruptCheckpoint", f"the checkpoint of step {saved.step} changed while it was read")
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    with torch.no_grad():
        for name, parameter in run.parameters().items():
            parameter.copy_(state["parameters"][name])
    run.optimiser.load_state_dict(state["optimiser"])
    run.scheduler.load_state_dict(state["scheduler"])
    run.step, run.rng = state["step"], state["rngs"][rank]
    run.response_tokens = state["response_tokens"]
    run.train_losses, run.validation_losses = state["train_losses"], state["validation_losses"]
    torch.set_rng_state(run.rng[0])
    if torch.cuda.is_available() and len(run.rng) > 1:
        torch.cuda.set_rng_state(run.rng[1])


def remove_orphans(store: Store, lease: Lease) -> None:
    """Remove what killed processes left in the folder: files that the lease does not name."""
    named = {saved.file for saved in lease.record.kept}
    for name in store.names("checkpoints"):
        if f"checkpoints/{name}" not in named:
            store.remove(f"checkpoints/{name}")


def _fault(store: Store, saved: SavedCheckpoint) -> str | None:
    try:
        data = store.read(saved.file)
    except FileNotFoundError:
        return "its file is gone"
    if len(data) != saved.size_bytes:
        return f"it has {len(data)} bytes instead of {saved.size_bytes}"
    if hashlib.sha256(data).hexdigest() != saved.sha256:
        return "its digest differs from the one recorded"
    return None
