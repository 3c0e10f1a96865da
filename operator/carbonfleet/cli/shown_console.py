"""A console on which text is shown as it is: its control characters, links and markup are not obeyed."""

from collections.abc import Iterable
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from carbonfleet.text import shown

UNBOUNDED: Final = 100_000
"""Columns: no line is broken."""


class ShownConsole(Console):
    """Rich's console; only what Rich itself says to the terminal reaches it, never what a text holds."""

    def __init__(self, *, markup: bool = False, **options: Any) -> None:  # noqa: ANN401 - Rich's own
        super().__init__(markup=markup, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401 - Rich's own
        """Print as Rich does; in a file or pipe without the blanks that fill up a table's last column."""
        if self.is_terminal:
            super().print(*objects, **options)
            return
        with self.capture() as captured:
            super().print(*objects, **options)
        self.file.write("\n".join(line.rstrip(" ") for line in captured.get().split("\n")))
        self.file.flush()  # whoever reads the pipe follows what happens

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The pieces of what is printed; cells that a control character takes up may make a line longer."""
        for text, style, control in super().render(renderable, options):
            plain = style.update_link(None) if style is not None and style.link else style
            yield Segment(text if control else shown(text), plain, control)
