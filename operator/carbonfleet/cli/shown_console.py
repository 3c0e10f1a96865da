"""A console on which text is shown as it is: its control characters, links and markup are not obeyed."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from carbonfleet.text import shown


class ShownConsole(Console):
    """Rich's console; only what Rich itself says to the terminal reaches it, never what a text holds."""

    def __init__(self, *, markup: bool = False, **options: Any) -> None:  # noqa: ANN401 - Rich's own
        super().__init__(markup=markup, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The pieces of what is printed; cells that a control character takes up may make a line longer."""
        for text, style, control in super().render(renderable, options):
            plain = style.update_link(None) if style is not None and style.link else style
            yield Segment(text if control else shown(text), plain, control)
