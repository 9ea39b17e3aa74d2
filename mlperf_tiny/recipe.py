"""How a task's backbone and exits are trained: data of the task, checked and used by the training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """What training does, apart from the weights and the seed that it starts from.

    `steps_per_epoch`: None means one pass over the training data. `schedule`: "steps" takes `learning_rate` for the
    first third, 1/5 of it for the second, 1/25 for the last; "cosine" falls to 0; "decay" takes 1 % off per epoch.
    `backbone_epochs` and `backbone_learning_rate` (None for the same) are for a backbone that is trained from scratch.
    `release`: share of the joint epochs after which copied filters get a life of their own.
    `early_weight`: weight of T-RecX's early exit in the loss, None for its attachment's own.
    `distillation`: share of the teacher's scores on the same (augmented) input in the targets, 0 for labels only, at
    `temperature`. `frozen`: the backbone keeps the weights that it has, and only the exits learn.

    Augmentation: `time_shift`, at most so many frames either way. `rotation` in degrees and `shift` and `zoom` as
    shares of the size, at most so much either way; `flip` mirrors half of the images left to right. `crop`: at most
    this share of an image's area is cut away, and the rest, anywhere in it and a little stretched, fills the image.
    `mixup`: the largest share of another sample that is mixed into inputs and labels. `class_balance`: classes are
    drawn in proportion to count^(1 - class_balance), 0.5 being 1/sqrt(count) per sample.
    """

    batch: int = 100
    backbone_epochs: int = 36
    backbone_learning_rate: float | None = None
    epochs: int = 36
    steps_per_epoch: int | None = None
    learning_rate: float = 5e-4
    schedule: str = "steps"
    release: float = 5 / 6
    early_weight: float | None = None
    distillation: float = 0.0
    temperature: float = 1.0
    frozen: bool = False
    time_shift: int = 0
    rotation: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    flip: bool = False
    crop: float = 0.0
    mixup: float = 0.0
    class_balance: float = 0.0
