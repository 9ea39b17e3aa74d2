"""Save models of Keras 3 in the folder that is named: run alone, because two Kerases in one process share settings."""

import sys

import keras
import numpy as np
from keras import layers


def sequential():
    stack = (
        *(keras.Input((12, 12, 3)), layers.Rescaling(1 / 3.0, offset=0.1)),
        layers.Conv2D(4, 3, 2, "same", use_bias=False, kernel_regularizer="l2", kernel_constraint="max_norm"),
        *(layers.BatchNormalization(), layers.ReLU(6.0), layers.DepthwiseConv2D(3), layers.LeakyReLU(0.1)),
        *(layers.SeparableConv2D(6, 3, padding="same", activation="relu"), layers.Dropout(0.2, seed=3)),
        *(layers.Activation("relu6"), layers.Reshape((-1, 6)), layers.Flatten(), layers.Dense(3), layers.Softmax()),
    )
    return keras.Sequential(stack)


def graph():
    """Branches of the same shapes, a layer that is called twice, and names that are not in order."""
    image = keras.Input((8, 8, 3))
    one, two = (layers.Conv2D(4, 3, padding="same", name=name)(image) for name in ("z", "a"))
    x = layers.Concatenate()([two, layers.Add()([one, two]), one])
    shared = layers.Conv2D(12, 1)
    x = layers.Maximum()([shared(layers.SpatialDropout2D(0.1)(x, training=False)), shared(x)])
    x = layers.GlobalAveragePooling2D()(layers.ZeroPadding2D(((1, 0), (0, 2)))(layers.MaxPooling2D(2)(x)))
    return keras.Model(image, [layers.Dense(2)(x), layers.Dense(2, activation="softmax")(x)])


def activations():
    image = keras.Input((3, 3, 2))
    names = "linear relu relu6 leaky_relu elu selu gelu swish silu mish sigmoid tanh softmax softplus softsign"
    return keras.Model(image, [layers.Activation(name)(image) for name in [*names.split(), "exponential"]])


def mobilenet():
    return keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(96, 96, 3), classes=2)


def ending(*stack):
    """A classifier with what is given before its end."""
    image = x = keras.Input((8, 8, 3))
    for layer in stack:
        x = layer(x)
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))


def refused():
    image = keras.Input((8, 8, 3))
    inner = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 3)], name="inner")
    end = layers.Dense(2)(layers.Flatten()(image))
    return {
        "operation": ending(lambda x: x + layers.Conv2D(3, 1)(x), keras.ops.softmax),
        "hard_sigmoid": ending(layers.Activation("hard_sigmoid")),
        "as_activation": ending(layers.Conv2D(3, 3, activation=layers.ReLU())),
        "mixed": ending(layers.Conv2D(3, 3, dtype="mixed_float16")),
        "renorm": ending(layers.BatchNormalization(renorm=True)),
        "inside": ending(inner),
        "lambda": ending(layers.Lambda(lambda x: x)),
        "normalization": ending(layers.Normalization(mean=[0.0, 0, 0], variance=[1.0, 1, 1])),
        "by_name": keras.Model(image, {"only": end}),
    }


def main(folder):
    generator = np.random.default_rng(0)
    for build in (sequential, graph, activations, mobilenet):
        keras.utils.set_random_seed(1)
        model = build()
        for weight in model.weights:  # else biases are 0 and variances 1 everywhere
            if "seed" not in weight.path:
                weight.assign(weight + generator.uniform(0.01, 0.05, weight.shape))
        x = generator.uniform(-2, 2, (4, *model.input_shape[1:])).astype(np.float32)
        answers = model.predict(x, verbose=0)
        np.savez(f"{folder}/{build.__name__}.npz", x, *(answers if isinstance(answers, list) else [answers]))
        for suffix in (".keras", ".h5"):
            model.save(f"{folder}/{build.__name__}{suffix}")
    for name, model in refused().items():
        for suffix in (".keras", ".h5"):
            model.save(f"{folder}/{name}{suffix}")
    sequential().export(f"{folder}/exported", verbose=False)


if __name__ == "__main__":
    main(sys.argv[1])
