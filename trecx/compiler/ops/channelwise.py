"""What operators say to rewrites that compute each output channel from the same channel of every input."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from trecx.compiler.ir import VARIES, Op


class Channelwise(Op):
    """A constant in every input makes a constant in the output; a channel goes together with its inputs'."""

    @abstractmethod
    def value(self, taken: tuple[int, ...]) -> int:
        """The output where the inputs are `taken`, one int8 value each."""

    def origins(self, position: int, output: int = 0) -> np.ndarray | None:
        """Each from the channel of its own number."""
        return np.arange(self.outputs[output].shape[-1])

    def constants(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Constant where all inputs are."""
        taken = np.stack([channels[self.origins(k)] for k, channels in enumerate(inputs)], axis=1).tolist()
        return (np.array([VARIES if VARIES in row else self.value(tuple(row)) for row in taken], np.int64),)
