"""Trainings that are watched, or stopped at a step, and the weights that they leave."""

from trecx.learn.keras import keras


class Stop(Exception):
    """An interruption."""


def quietly(done: int, total: int) -> None:
    assert 0 <= done <= total


def stopping_at(step: int):
    def progress(done: int, total: int) -> None:
        if done == step:
            raise Stop

    return progress


def weights_of(folder):
    return keras().models.load_model(folder / "model.keras", compile=False).get_weights()
