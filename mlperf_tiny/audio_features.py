"""Features of recordings, plain and augmented, kept in the cache."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlperf_tiny import augment, feature_cache, front_end, speech_commands
from mlperf_tiny.speech_commands import Clip
from mlperf_tiny.task import DataError, capped

_CODE = (Path(__file__), *(Path(module.__file__ or "") for module in (augment, front_end, speech_commands)))


@dataclass
class FeatureMaker:
    """Makes int8 features `(n, 49, 10)` on the runner's grid from recordings, deterministic for a seed.

    Unusable recordings are collected over all calls and raised by `finish`; until then their features are zeros.
    `total` is the number of features that will be asked for at most, for `progress`; cached ones count as well.
    """

    cache: Path
    seed: int
    background: tuple[Path, ...]
    progress: Callable[[int, int], None] | None = None
    total: int = 0

    def __post_init__(self) -> None:
        self._done = 0
        self._problems: list[str] = []
        self._hint = ""
        self._recordings: list[np.ndarray] = []
        self._collect(lambda: self._recordings.extend(speech_commands.read_all(self.background)))

    def clips(self, clips: Sequence[Clip], copies: range = range(1)) -> np.ndarray:
        """Return the features of every copy of every clip, copy by copy; copy 0 is the clip as it is."""
        x = np.zeros((len(copies), len(clips), *front_end.SHAPE[:2]), np.int8)

        def make() -> dict[str, np.ndarray]:
            start = 0
            for block, samples in speech_commands.read_blocks(clips):
                # After the first problem the recordings are only read, to find the others.
                for k, copy in enumerate(copies if not self._problems else ()):
                    x[k, start : start + len(block)] = self._features(block, samples, copy)
                    self._advance(len(block))
                start += len(block)
            return {"x": x.reshape(-1, *front_end.SHAPE[:2])}

        augmented = bool(copies) and copies[-1] > 0
        recipe = f"clips {copies.start} {copies.stop}" + (f" seed {self.seed}" if augmented else "")
        files = [*(clip.path for clip in clips), *(self.background if augmented else ())]
        return self._stored(recipe, files, make, len(copies) * len(clips))

    def silence(self, count: int, held_out: bool = False) -> np.ndarray:
        """Return features of cuts from the background recordings; held-out ones share no second with the rest."""

        def make() -> dict[str, np.ndarray]:
            cuts = augment.silence(count if self._recordings else 0, self._recordings, self.seed, held_out)
            return {"x": front_end.quantize(front_end.mfcc(cuts))[..., 0]}

        recipe = f"silence {count} {held_out} seed {self.seed}"
        return self._stored(recipe, list(self.background), make, count)

    def finish(self) -> None:
        """Report the last step; raises one `DataError` for all unusable recordings."""
        if self._problems:
            raise DataError(capped(self._problems), self._hint)
        self._advance(self.total - self._done)

    def _features(self, clips: Sequence[Clip], samples: np.ndarray, copy: int) -> np.ndarray:
        """Return one copy's features `(m, 49, 10)`."""
        if copy > 0:
            randoms = [augment.generator(self.seed, clip.name, copy) for clip in clips]
            pairs = zip(samples, randoms, strict=True)
            samples = np.stack([augment.perturb(clip, self._recordings, random) for clip, random in pairs])
        return front_end.quantize(front_end.mfcc(samples))[..., 0]

    def _stored(
        self, recipe: str, files: list[Path], make: Callable[[], dict[str, np.ndarray]], count: int
    ) -> np.ndarray:
        """Return features from the cache, or make them; nothing is stored once there is a problem."""
        after = self._done + count
        made: list[np.ndarray] = []
        if self._problems:
            self._collect(make)
        else:
            name = feature_cache.key(files, recipe, _CODE)
            self._collect(lambda: made.append(feature_cache.stored(self.cache, name, make)["x"]))
        self._advance(after - self._done)
        return made[0] if made else np.zeros((count, *front_end.SHAPE[:2]), np.int8)

    def _collect(self, work: Callable[[], object]) -> None:
        """Do some work and keep its problems for `finish`."""
        try:
            work()
        except DataError as error:
            self._problems.extend(error.problems)
            self._hint = error.hint

    def _advance(self, count: int) -> None:
        self._done += count
        if self.progress and count > 0:
            self.progress(min(self._done, self.total), self.total)
