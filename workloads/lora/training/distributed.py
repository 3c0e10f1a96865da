"""The workers of a run as the loop sees them: sums over all, and what the first one says."""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class World:
    """The workers of one run; alone, every sum is the number itself."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009  # immutable
    first_on_node: bool = True

    @classmethod
    def alone(cls) -> "World":
        """This process, on the GPU if there is one."""
        return cls(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def gpu_uuid(self) -> str | None:
        """The GPU that this worker trains on; None for a CPU."""
        return str(torch.cuda.get_device_properties(self.device).uuid) if self.device.type == "cuda" else None

    @property
    def leads(self) -> bool:
        """Whether this worker writes for all."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """Each value summed over the workers."""
        if self.size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return [float(v) for v in total]

    def sum_gradients(self, parameters: list[torch.Tensor]) -> None:
        """Sum the gradients over the workers in place, in one message."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        torch.distributed.all_reduce(flat)
        parts = torch.split(flat, [g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def gather(self, value: Any) -> list[Any]:  # noqa: ANN401  # any picklable value
        """The value of every worker, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def lead(self, value: Any) -> Any:  # noqa: ANN401  # any picklable value
        """The first worker's value."""
        return self.gather(value)[0]
