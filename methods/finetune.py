"""Control: the dense network fine-tuned as long as the pruned ones are, but never cut.

What a pruned network wins by the extra epochs alone, this one wins too.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from bench import Method, Run


class Finetune(Method):
    """Trains the dense checkpoint for the epochs that the other methods get."""

    name: ClassVar[str] = "finetune"
    summary: ClassVar[str] = "control: the dense network fine-tuned for the same epochs, nothing cut"
    prunes: ClassVar[bool] = False

    def compress(self, model: nn.Module, run: Run) -> nn.Module:
        run.train(model, run.epochs_left, name="fine-tune")
        return model
