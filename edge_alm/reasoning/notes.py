"""A reasoner that hears and answers nothing: for who wants what the language model is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.reasoning.reasoner import Reasoner
from edge_alm.reasoning.scene import never
from edge_alm.types import Answer, Event, Sound


class Notes(Reasoner):
    """Drops everything; a subclass keeps what it wants."""

    def append_event(self, event: Event) -> None:
        """See :class:`Reasoner`."""

    def append_embeddings(
        self, embeddings: NDArray[np.float32], start_s: float, end_s: float
    ) -> None:
        """See :class:`Reasoner`."""

    def begin_recording(self, name: str) -> None:
        """See :class:`Reasoner`."""

    def flush(self) -> None:
        """See :class:`Reasoner`."""

    def ask(
        self,
        question: str,
        *,
        choices: Sequence[str] | None = None,
        think: bool = False,
        ongoing: Sequence[Sound] = (),
        now_s: float | None = None,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = never,
        remember: bool = False,
        since_s: float | None = None,
    ) -> Answer:
        """It has no answer."""
        raise UsageError("question", expected="a language model", got="none")

    def reset(self) -> None:
        """See :class:`Reasoner`."""

    def close(self) -> None:
        """See :class:`Reasoner`."""
